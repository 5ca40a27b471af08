"""The picture of what an observer sees."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

import wire

SHOWN = 10  # s
COLOURS = {"idle": "#4878a8", "talking": "#c8553d"}


def draw(rounds, file):
    """`rounds` has the packets and spells of a round of chat and of off."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "sesame", "font.size": 9,
                         "font.family": "sans-serif"})
    figure, axes = plt.subplots(3, 2, figsize=(9, 7), height_ratios=[1, 1.6, 1.6])
    for column, (mode, title) in enumerate([("chat", "with cover, a cell every 100 ms"),
                                            ("off", "the control: --cover off")]):
        seen = look(*rounds[mode])
        raster(axes[0, column], seen, title)
        histogram(axes[1, column], seen, sizes, "size of a data segment in bytes", 40)
        histogram(axes[2, column], seen, gaps, "gap between data segments of one direction in ms", 60)
    axes[1, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": None})


def look(packets, spells):
    """For each part the links that played it first: data segments of the first spell."""
    links = {}
    for listener, _, link in wire.links(packets):
        links.setdefault(listener, link)
    seen = {"idle": [], "talking": []}
    for listener, parts in spells.items():
        begin, end, busy = parts[0]
        link = links[listener]
        inside = link[(link["payload"] > 0) & (link["time"] >= begin + 1) & (link["time"] < end - 1)].copy()
        inside["time"] -= begin + 1
        seen["talking" if busy else "idle"].append((listener, inside))
    return seen


def raster(axis, seen, title):
    """Data segments of one link of each kind over time, each direction a line."""
    for place, (part, links) in enumerate(seen.items()):
        listener, link = links[0]
        for way, there in enumerate([link["target"] == listener, link["source"] == listener]):
            times = link["time"][there & (link["time"] < SHOWN)]
            low = 2.2 * place + way
            # One line with gaps in it: a path for each stroke would make a file ten times as large.
            strokes = [np.repeat(times, 3), np.tile([low, low + 0.8, np.nan], len(times))]
            axis.plot(*strokes, color=COLOURS[part], linewidth=0.7)
    axis.set(title=title, xlabel="seconds", yticks=[0.9, 3.1], yticklabels=list(seen), xlim=(0, SHOWN))
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)


def sizes(_, link):
    return link["payload"]


def gaps(listener, link):
    ways = [link["time"][link["target"] == listener], link["time"][link["source"] == listener]]
    return 1000 * np.concatenate([np.diff(way) for way in ways])


def histogram(axis, seen, measure, label, bins):
    values = {part: np.concatenate([measure(*link) for link in links]) for part, links in seen.items()}
    everything = np.concatenate(list(values.values()))
    span = (0, max(1500, everything.max())) if measure is sizes else (everything.min(), everything.max())
    for part, value in values.items():
        axis.hist(value, np.linspace(*span, bins), weights=np.full(len(value), 1 / len(value)),
                  histtype="stepfilled", alpha=0.5, color=COLOURS[part], label=part)
    axis.set(xlabel=label, ylabel="share", yscale="log", ylim=(1e-4, 2))
    axis.spines[["top", "right"]].set_visible(False)
