"""Solutions of the exercises in 03_saliency_and_class_models.ipynb: each part takes the place of the cell of its name."""


# %% saliency
def saliency(gradient):
    """From a gradient (N, C, H, W) to maps (N, 1, H, W)."""
    return gradient.abs().amax(1, keepdim=True)


teaching.check("saliency", saliency)


# %% probability-gradient
def probability_gradient(p, G, c):
    return p[c] * (G[c] - p @ G)


teaching.check("probability-gradient", probability_gradient)
