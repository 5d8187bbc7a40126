"""Numbers as an analysis gives them, and what a figure says."""

from lla.estimate import Estimate

CAPTION = "net.pt · sha256 0123456789ab · 100 parameters"


def certified(value, half=0.01):
    return Estimate(value, value - half, value + half, method="by hand")


def sampled(value, half=0.5, **more):
    return Estimate(
        value, value - half, value + half, 0.95, stderr=half / 2, method="by hand", **more
    )


def exact(value):
    return Estimate.exact(value, method="by hand")


def texts(figure):
    """Everything that a figure says."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def lines(axes):
    """The lines of some axes by their labels."""
    return {line.get_label(): line for line in axes.lines}
