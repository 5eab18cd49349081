"""Solutions of the exercises in 02_gradients_of_anything.ipynb: each part takes the place of the cell of its name."""


# %% loss-gradient
def loss_gradient(scores, labels):
    one_hot = torch.nn.functional.one_hot(labels, scores.shape[1])
    return scores.softmax(1) - one_hot


teaching.check("loss-gradient", loss_gradient)
