"""The alarms: what each one means, when it is raised and what to do, for the checks, the report and the documents.

An alarm is a share of images, k of n, with a threshold. It is raised where the lower end of the 95 % Wilson interval of
k / n is above the threshold, and by two images at least where the threshold is not 0: a sound network may stay below it
by chance, hardly above. Some signs are of the whole run: then all of its images have them, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ALARMS", "AlarmKind"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmKind:
    """One kind of alarm.

    Attributes:
        name: its identifier.
        threshold: the share of images, in [0, 1], up to which nothing is wrong.
        meaning: what it is a sign of, one sentence without a full stop.
        advice: what to do, one sentence without a full stop.
    """

    name: str
    threshold: float
    meaning: str
    advice: str


_KINDS = (
    AlarmKind(
        name="data mismatch",
        threshold=0.0,
        meaning="clean accuracy is near chance, or another form of the input or order of the classes gives far more: "
        "network and data do not fit, and no accuracy of this run means anything",
        advice="do what the line on the clean accuracy says, and run bench again",
    ),
    AlarmKind(
        name="no answer",
        threshold=0.0,
        meaning="the engine gives NaN or infinity for clean images: these count as wrong, never as robust",
        advice="look for a division by zero, a logarithm or an overflow in float16 in the graph",
    ),
    AlarmKind(
        name="wrong twin",
        threshold=0.01,
        meaning="on clean images the twin is another function than the engine: white-box attacks were made on another "
        "network, and what they leave is an upper bound",
        advice="report the file, and attack the engine itself meanwhile (square, hop-skip-jump)",
    ),
    AlarmKind(
        name="no white-box attack",
        threshold=0.0,
        meaning="only queries and other networks were tried: images that count as robust may fall to the gradient",
        advice="choose an attack on the twin (apgd-ce), or export the network with operators that the twin knows",
    ),
    AlarmKind(
        name="random",
        threshold=0.0,
        meaning="the engine is random: one answer to a candidate proves nothing",
        advice="remove what is random from the graph, or attack the mean of many answers",
    ),
    AlarmKind(
        name="twin differs",
        threshold=0.01,
        meaning="twin and engine are not one network: white-box attacks were made on another one",
        advice="count on attacks with scores only (square), and look at twin-mismatch to see how far the two differ",
    ),
    AlarmKind(
        name="without gradients",
        threshold=0.01,
        meaning="attacks without gradients break what white-box attacks missed, also stronger ones: the gradients "
        "mislead",
        advice="attack with bpda and with more queries, and do not report the white-box figure alone",
    ),
    AlarmKind(
        name="zero gradient",
        threshold=0.05,
        meaning="the gradient is zero or not finite: attacks that follow it do not move",
        advice="attack the logits before a saturated last layer, or with scores only (square)",
    ),
    AlarmKind(
        name="flat loss",
        threshold=0.25,
        meaning="the loss is flat along its gradient: attacks that follow it search in the dark",
        advice="attack with bpda and with scores only (square), and measure the curves",
    ),
    AlarmKind(
        name="large epsilon",
        threshold=0.05,
        meaning="images withstand a ball in which nothing can be told apart: the attack does not work here",
        advice="distrust every white-box figure of this run until an attack breaks all images in that ball",
    ),
    AlarmKind(
        name="no attack works",
        threshold=0.05,
        meaning="in a ball in which nothing can be told apart, images withstand the attacks that follow an alarm too: "
        "nothing here finds what this network hides",
        advice="do not report the figure, and look at what hides the gradient in the graph",
    ),
    AlarmKind(
        name="more steps",
        threshold=0.05,
        meaning="more steps from another start break more: these attacks had not converged, stronger ones leave less",
        advice="attack again with a stronger set (standard or full)",
    ),
)

ALARMS: Mapping[str, AlarmKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""By name, in the order of a report."""
