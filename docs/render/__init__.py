"""Pages rendered from code: `python -m docs.render` writes them all; tests fail where one is out of date."""
