"""What the explorer explains of itself: each panel in a few sentences, and the words that a newcomer may not know."""

from __future__ import annotations

from nbcnnviz.attribution import methods

PANELS = {
    "explain": "Where the network looked: how much each place of the picture counts for the class explained, by the method "
    "chosen. Click another class to explain it; Shift-click one to see what speaks for the first rather than for that. The "
    "view Object cuts out of the picture what the map points at: where the map is strongest is taken for the object, where "
    "it is weakest for the background, and the colours decide about the rest.",
    "features": "What the filters of the layer answer to in this picture: a map for each. Click one to see it large, and a "
    "place on it to see which part of the picture that unit sees, its receptive field.",
    "weights": "The learned kernels of the layer, and the gradient of the class's score with respect to them: how they "
    "would have to change for the score to rise.",
    "gradients": "How strong activations and gradients are from layer to layer: whether they vanish or explode on the way, "
    "and how large an update is beside the weights.",
    "synthesize": "A picture made by gradient ascent: pixels are changed step by step until the class, filter or layer "
    "chosen answers as strongly as possible.",
    "compare": "Maps side by side, along one axis (methods, layers, classes), with measures of how good and how alike they "
    "are; and what the network would say if a part of it, or of the picture, were taken away.",
    "dataset": "Which of many pictures a filter answers to most strongly.",
}

TERMS = {
    "logit": "A class's score before softmax makes probabilities of the scores of all classes.",
    "rectifier": "A function that lets positive values through and replaces negative ones by zero, such as ReLU.",
    "receptive field": "The part of the picture that a unit of a layer can see.",
    "dead filter": "A filter whose output is zero everywhere, for this picture or for all.",
    "update / weight": "How large one step of training is beside the weights that it changes; about 0.001 is usual.",
    "jitter": "Shifting a picture by a few pixels at each step, so that what is made does not depend on exact places.",
    "total variation": "How much neighbouring pixels differ; keeping it small makes a picture smooth.",
}


def help_of(panel: str, title: str, method: str | None) -> list[dict[str, str]]:
    """What is said of a panel, and of the method that it uses: a list of headings with texts."""
    said = [{"heading": title, "text": PANELS.get(panel, "")}]
    if method is not None:
        known = methods()[method]
        paragraphs = known.doc.strip().replace("``", "").replace("`", "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        said.append(
            {"heading": known.title, "text": f"{text}\n\nCost: {known.cost} (F: a forward pass, B: a backward pass)."}
        )
    terms = "\n".join(f"{term}: {meaning}" for term, meaning in TERMS.items())
    return [part for part in (*said, {"heading": "Words", "text": terms}) if part["text"]]
