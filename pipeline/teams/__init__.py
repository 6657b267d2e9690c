"""Teams: who speaks to whom. A topology is one short class whose `play` yields the turns to be written."""
