"""A model small enough to write in a test: llama architecture, random weights, and text that reads as text.

The file is a few hundred kB and llama.cpp loads it in a fraction of a second. It knows nothing, but what it
says is made of words: one channel of the residual stream carries the same value for every token, and the
output matrix uses that channel as a bias. It keeps the byte tokens and the control tokens (never valid
UTF-8, never wanted in an answer) out of reach, and sets how likely the end is after each word.

`gguf` and `numpy` are imported when a model is written, not before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WIDTH: Final = 64
HEADS: Final = 2  # heads of 32 values: the block size of the quantised cache types, so those can be tested
HIDDEN: Final = 96
LAYERS: Final = 2
CONTEXT: Final = 4096

BIAS_CHANNEL: Final = 0
BIAS_VALUE: Final = 8.0
FORBIDDEN: Final = -80.0
UNWANTED: Final = -40.0
"""Biases of tokens that are never sampled, the words' scores staying within ±10. A grammar may leave nothing
else to choose from: then signs go before bytes and blanks, so that JSON comes out without page-long gaps."""
END_BIAS: Final = 2.0

BOS, EOS, TURN_START, TURN_END = "<s>", "</s>", "<|turn|>", "<|end|>"
SPACE: Final = "▁"  # the sign SentencePiece writes for a blank

LEXICON: Final = (
    "the a and of to in is it that was for on are with as his they at be this from have or by one had not "
    "but what all were when we there can an your which their said if do will each about how up out them "
    "then she many some so these would other into has more her two like him see time could no make than "
    "first been its who now people my made over did down only way find use may water long little very "
    "after words called just where most know port house door guest room key bell train boat river stone "
    "light green quiet early late small model ready stream token answer question night morning lamp "
    "garden road bridge"
)
"""What an answer is made of."""

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}<|turn|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def write_tiny_gguf(
    path: str | os.PathLike[str], *, seed: int = 0, name: str = "tiny", endless: bool = False
) -> Path:
    """Write the model to `path`, which appears when it is complete, and return the path.

    The same `seed` gives the same bytes. An `endless` model never ends its answer by itself: it talks until
    the limit of the request or the end of its context. Raises ImportError, naming the extra, when `gguf` or
    `numpy` is missing.
    """
    try:
        import gguf
        import numpy as np
    except ImportError as missing:
        raise ImportError(
            f"write_tiny_gguf needs {missing.name}: pip install 'hostler[testing]'", name=missing.name
        ) from missing

    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    tokens, scores, kinds, bias = _vocabulary(endless=endless)
    writer = gguf.GGUFWriter(str(temporary), "llama")
    _write_header(writer, name)
    _write_tokenizer(writer, tokens, scores, kinds)
    for tensor, values in _weights(np, np.random.default_rng(seed), bias).items():
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return temporary.replace(target)


def _vocabulary(*, endless: bool) -> tuple[list[str], list[float], list[int], list[float]]:
    """Texts, merge scores, GGUF token types and output biases, in the order of the token ids."""
    normal, unknown, control, byte = 1, 2, 3, 6
    tokens = ["<unk>", BOS, EOS, TURN_START, TURN_END]
    kinds = [unknown, control, control, control, control]
    end_bias = FORBIDDEN if endless else END_BIAS
    bias = [FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, end_bias]
    tokens += [f"<0x{value:02X}>" for value in range(256)]
    kinds += [byte] * 256
    bias += [FORBIDDEN] * 256
    scores = [0.0] * len(tokens)

    words = [SPACE + word for word in dict.fromkeys(LEXICON.split())]
    characters = [SPACE] + [chr(code) for code in range(0x21, 0x7F)]
    # The tokenizer joins two neighbours at a time, so every beginning of a word must be a token as well.
    stems = sorted({word[:end] for word in words for end in range(2, len(word))} - set(words))
    for piece in characters + stems + words:
        tokens.append(piece)
        kinds.append(normal)
        scores.append(float(len(piece)))  # the longer piece wins
        bias.append(0.0 if piece in words else FORBIDDEN if piece == SPACE else UNWANTED)
    return tokens, scores, kinds, bias


def _write_header(writer: Any, name: str) -> None:
    writer.add_name(name)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(0)


def _write_tokenizer(writer: Any, tokens: list[str], scores: list[float], kinds: list[int]) -> None:
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(tokens.index(BOS))
    writer.add_eos_token_id(tokens.index(TURN_END))
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _weights(np: Any, random: np.random.Generator, bias: list[float]) -> dict[str, npt.NDArray[np.float32]]:
    """Every tensor of the model; `bias[i]` is added to the score of token i."""

    def matrix(rows: int, columns: int, scale: float) -> npt.NDArray[np.float32]:
        values: npt.NDArray[np.float32] = (random.standard_normal((rows, columns)) * scale).astype(np.float32)
        return values

    ones = np.ones(WIDTH, dtype=np.float32)
    embedding = matrix(len(bias), WIDTH, 1.0)
    embedding[:, BIAS_CHANNEL] = BIAS_VALUE
    # After the last normalisation the bias channel holds about this, whatever the other channels say.
    level = BIAS_VALUE / float(np.sqrt((BIAS_VALUE**2 + WIDTH * 1.5) / WIDTH))
    output = matrix(len(bias), WIDTH, 0.2)
    output[:, BIAS_CHANNEL] = np.asarray(bias, dtype=np.float32) / level

    tensors = {"token_embd.weight": embedding, "output_norm.weight": ones, "output.weight": output}
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        tensors[block + "attn_norm.weight"] = ones
        tensors[block + "ffn_norm.weight"] = ones
        for part in ("q", "k", "v", "output"):
            tensors[f"{block}attn_{part}.weight"] = matrix(WIDTH, WIDTH, 0.12)
        tensors[block + "ffn_gate.weight"] = matrix(HIDDEN, WIDTH, 0.12)
        tensors[block + "ffn_up.weight"] = matrix(HIDDEN, WIDTH, 0.12)
        tensors[block + "ffn_down.weight"] = matrix(WIDTH, HIDDEN, 0.12)
        # Nothing may write to the bias channel.
        tensors[block + "attn_output.weight"][BIAS_CHANNEL, :] = 0.0
        tensors[block + "ffn_down.weight"][BIAS_CHANNEL, :] = 0.0
    return tensors
