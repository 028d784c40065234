"""Plans and ballots for property tests."""

from hypothesis import strategies as st

from protocol.aggregation import Aggregation
from protocol.ballot import Ballot, Choice
from protocol.catalogue import CATALOGUE
from protocol.plan import (
    Ages,
    Cohort,
    Months,
    Network,
    Optimiser,
    Plan,
    Preprocessing,
    Privacy,
    Task,
)

SITES = ("amber", "birch", "cedar", "delta")

_CARD = CATALOGUE["efficientnet-lite0-head"]


def a_plan(**changes: object) -> Plan:
    """A plan over four sites that is valid as it stands; `changes` replace top-level fields."""
    fields: dict[str, object] = {
        "title": "Opacities",
        "purpose": "test",
        "proposed_by": "centre",
        "sites": SITES,
        "network": Network(name=_CARD.name, weights_digest=_CARD.weights_digest),
        "cohort": Cohort(
            modality=("CR", "DX"), label="finding", positive="opacity", minimum_patients=50
        ),
        "preprocessing": Preprocessing(size_px=128),
        "optimiser": Optimiser(learning_rate="0.5", local_steps=20),
        "privacy": Privacy(
            epsilon="3",
            delta="0.00001",
            max_grad_norm="0.5",
            images_per_patient=4,
            expected_patients=64,
        ),
        "aggregation": Aggregation(quorum=2, deadline_s=60),
        "rounds": 5,
        "expires_us": 2_000_000_000_000_000,
    }
    return Plan(**{**fields, **changes})  # type: ignore[arg-type]


plans = st.builds(
    a_plan,
    title=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).filter(
        lambda text: len(text) <= 400
    ),
    rounds=st.integers(1, 10_000),
    seed=st.integers(0, 2**32 - 1),
    expires_us=st.integers(0, 2**53),
)

ballots = st.builds(
    Ballot,
    plan_id=st.sampled_from([a_plan().id, a_plan(rounds=6).id]),
    site=st.sampled_from([*SITES, "stranger"]),
    choice=st.sampled_from(Choice),
)

_codes = st.lists(st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True), max_size=3).map(tuple)
_months = st.builds(
    lambda years, months: Months(
        first=f"{min(years):04d}-{months[0]:02d}", last=f"{max(years) + 1:04d}-{months[1]:02d}"
    ),
    st.tuples(st.integers(1900, 2100), st.integers(1900, 2100)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
_ages = st.tuples(st.integers(0, 90), st.integers(0, 90)).map(
    lambda ages: Ages(least_years=min(ages), most_years=max(ages))
)

_names = st.lists(st.from_regex(r"[a-z]([a-z ]{0,9}[a-z])?", fullmatch=True), unique=True)
_binary = st.just({"positive": "opacity"})
_several = st.fixed_dictionaries(
    {
        "task": st.sampled_from([Task.MULTI_CLASS, Task.MULTI_LABEL, Task.SEGMENTATION]),
        "classes": _names.filter(lambda names: len(names) > 1).map(tuple),
    }
)

cohorts = st.builds(
    lambda answers, **asked: Cohort(**answers, **asked),
    _binary | _several,
    modality=st.just(("CR",)),
    label=st.just("finding"),
    minimum_patients=st.integers(1, 100),
    body_part=_codes,
    view_position=_codes,
    studied=st.none() | _months,
    age=st.none() | _ages,
    minimum_images=st.integers(1, 9),
)
