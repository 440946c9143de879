"""What a model's folder may not be: incomplete, corrupt, or code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from pgsbert.errors import ModelLoadError
from pgsbert.models.files import weights_hash
from pgsbert.models.safety import check
from pgsbert.models.sbert import load_encoder, load_reranker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_sound_folders_pass(bi_encoder: Path, transformer: Path, minilm: Path) -> None:
    for folder in (bi_encoder, transformer, minilm):
        check(folder)


@pytest.mark.parametrize("kept", [0, 100, -1], ids=["nothing", "half a header", "all but one byte"])
def test_corrupt_weights_are_named(bi_encoder: Path, kept: int) -> None:
    weights = bi_encoder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelLoadError, match=r"model\.safetensors in .*bi-encoder is corrupt") as caught:
        load_encoder(str(bi_encoder))
    assert caught.value.__cause__ is not None


def test_pickled_weights_are_never_read(transformer: Path) -> None:
    torch.save(load_file(transformer / "model.safetensors"), transformer / "pytorch_model.bin")
    (transformer / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"pytorch_model\.bin and no \.safetensors.*save_pretrained"):
        load_encoder(str(transformer))


def test_pickled_weights_of_one_module_are_never_read(bi_encoder: Path) -> None:
    (bi_encoder / "1_Pooling" / "pytorch_model.bin").touch()
    with pytest.raises(ModelLoadError, match=r"1_Pooling holds pytorch_model\.bin"):
        load_encoder(str(bi_encoder))


def test_folder_without_weights_is_refused(transformer: Path) -> None:
    (transformer / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"holds no \.safetensors weights"):
        load_encoder(str(transformer))


def test_class_from_elsewhere_is_refused_and_not_imported(bi_encoder: Path) -> None:
    (bi_encoder / "evil.py").write_text("raise SystemExit('imported')")
    modules = json.loads((bi_encoder / "modules.json").read_text())
    modules[1]["type"] = "evil.Pooling"
    (bi_encoder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelLoadError, match=r"names the class evil\.Pooling.*runs no code"):
        load_encoder(str(bi_encoder))


def test_module_outside_of_the_folder_is_refused(bi_encoder: Path) -> None:
    modules = json.loads((bi_encoder / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (bi_encoder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelLoadError, match="points outside"):
        load_encoder(str(bi_encoder))


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"attn_implementation": "somebody/kernel"}),
        ("config.json", {"sentence_transformers": {"activation_fn": "os.abort"}}),
        ("sentence_bert_config.json", {"model_args": {"attn_implementation": "somebody/kernel"}}),
    ],
)
def test_settings_that_name_code_are_refused(bi_encoder: Path, file: str, settings: dict[str, object]) -> None:
    edit_json(bi_encoder / file, **settings)
    with pytest.raises(ModelLoadError, match="asks for the code"):
        load_encoder(str(bi_encoder))


def test_code_of_the_repository_is_not_run(transformer: Path) -> None:
    (transformer / "evil.py").write_text("raise SystemExit('imported')")
    edit_json(transformer / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_encoder(str(transformer))


@pytest.mark.parametrize("name", ["config.json", "tokenizer"])
def test_missing_file_is_named(transformer: Path, name: str) -> None:
    for path in [*transformer.glob(f"{name}*"), *transformer.glob("vocab.txt")]:
        path.unlink()
    with pytest.raises(ModelLoadError, match=rf"(?i){name} is missing in .*transformer"):
        load_encoder(str(transformer))


def test_broken_tokenizer_is_a_load_error(transformer: Path) -> None:
    (transformer / "tokenizer.json").write_text("{")
    with pytest.raises(ModelLoadError) as caught:
        load_encoder(str(transformer))
    assert str(transformer) in str(caught.value)
    assert caught.value.__cause__ is not None


def test_weights_that_would_start_at_random_are_refused(make_cross_encoder: Callable[..., Path]) -> None:
    folder = make_cross_encoder(labels=1)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lack classifier\.weight.*at random"):
        load_reranker(str(folder))


def test_missing_pooler_is_no_reason_to_refuse_a_bi_encoder(transformer: Path) -> None:
    weights = load_file(transformer / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, transformer / "model.safetensors", metadata={"format": "pt"})
    load_encoder(str(transformer), device="cpu")


def test_hash_of_several_files_covers_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    for name in ("a.safetensors", "part/b.safetensors"):
        save_file({"x": torch.zeros(2)}, tmp_path / name)
    both = weights_hash(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "c.safetensors")
    renamed = weights_hash(tmp_path)
    save_file({"x": torch.ones(2)}, tmp_path / "c.safetensors")
    assert len({both, renamed, weights_hash(tmp_path)}) == 3
