"""Names that users know stay where they were, whatever file holds them."""

import importlib
import pickle

import pytest

import fastfa as fa

NAMES = {
    "alignment": ["Alignment"],
    "callbacks": [
        "Alignment", "AlignmentWarning", "CSVLogger", "Callback", "Checkpoint", "EarlyStopping",
        "History", "Log", "TensorBoard",
    ],
    "datasets": ["load"],
    "demo": ["DEFAULT_RULES", "Run", "Settings", "report", "run", "table", "verdict"],
    "feedback": ["Feedback"],
    "initializers": ["Init"],
    "layers": ["Dense", "Dropout", "Layer"],
    "optimizers": ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"],
    "plot": ["alignment", "curves", "feedback"],
    "presets": ["PRESETS", "Preset", "Row"],
    "replicas": ["Replica", "fit_replicas"],
    "reproduce": ["Part", "find", "names", "reproduce", "section", "update_page"],
    "rules": [
        "BRSF", "DFA", "DKP", "DRTP", "FA", "FRSF", "IFA", "KP", "LDFA", "PEPITA", "RULES", "SDFA",
        "USF", "Backprop", "Frozen", "Local", "Rule", "RuleWarning", "Ternary",
    ],
    "sequential": ["Alignment", "Sequential"],
}  # fmt: skip


@pytest.mark.parametrize("module", NAMES)
def test_modules_have_their_names(module):
    for name in NAMES[module]:
        assert hasattr(getattr(fa, module), name)


@pytest.mark.parametrize("module", [*NAMES.keys() - {"demo", "presets", "reproduce"}])
def test_pickles_find_their_classes(module):
    """A pickle names module and class; those of older versions name these modules."""
    found = importlib.import_module(f"fastfa.{module}")
    for name in NAMES[module]:
        if isinstance(getattr(found, name), type):
            old = b"c" + f"fastfa.{module}\n{name}\n".encode() + b"."
            assert pickle.loads(old) is getattr(found, name)
