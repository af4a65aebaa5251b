"""Threat models as Hypothesis draws them: `st.from_type(ThreatModel)`."""

from __future__ import annotations

from hypothesis import strategies as st

from hardtemper.bench.attacks.threat.threat_model import ThreatModel

LINF = st.one_of(st.floats(0, 1), st.integers(0, 255).map(lambda k: k / 255))
L2 = st.one_of(st.floats(0, 30), st.integers(0, 40).map(lambda k: k / 10))
L1 = st.one_of(st.floats(0, 13), st.integers(0, 13 * 255).map(lambda k: k / 255))
TARGETS = st.one_of(st.none(), st.integers(0, 9))

st.register_type_strategy(
    ThreatModel,
    st.one_of(
        st.builds(ThreatModel, st.just("linf"), LINF, TARGETS),
        st.builds(ThreatModel, st.just("l2"), L2, TARGETS),
        st.builds(ThreatModel, st.just("l1"), L1, TARGETS),
    ),
)
