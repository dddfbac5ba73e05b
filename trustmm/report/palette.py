"""The colours of every figure: Okabe and Ito's, which colour-blind readers can tell apart, and one grey."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, RED, GREY, YELLOW = "#56B4E9", "#D55E00", "#666666", "#F0E442"
IN_TURN = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY, YELLOW)
"""For lines without a colour of their own; a figure shows no more lines than there are colours."""
