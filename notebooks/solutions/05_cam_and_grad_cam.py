"""Solutions of the exercises in 05_cam_and_grad_cam.ipynb: each part takes the place of the cell of its name."""


# %% cam-exercise
def cam(maps, weights, c):
    """Maps (K, h, w), weights (classes, K), a class."""
    return (weights[c, :, None, None] * maps).sum(0).relu()


teaching.check("cam", cam)


# %% grad-cam-exercise
def grad_cam(maps, gradient):
    """Maps (K, h, w) and the score's gradient at them (K, h, w)."""
    weights = gradient.mean((1, 2))
    return (weights[:, None, None] * maps).sum(0).relu()


teaching.check("grad-cam", grad_cam)
