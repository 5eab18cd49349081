"""Solutions of the exercises in 07_can_a_map_be_trusted.ipynb: each part takes the place of the cell of its name."""


# %% deletion-area
def area(shares, values):
    return ((values[1:] + values[:-1]) / 2 * (shares[1:] - shares[:-1])).sum()


teaching.check("deletion-area", area)

# %% shortcut
answer = (7, 25, 25, 31, 31)  # (digit, top, left, bottom, right), rows and columns of the 32 x 32 pixels
teaching.check("shortcut", answer)
