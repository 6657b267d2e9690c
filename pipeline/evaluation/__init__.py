"""Localizers held against labelled logs: figures with intervals, folds, other annotators."""
