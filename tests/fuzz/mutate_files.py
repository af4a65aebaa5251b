"""Mutations of folders: links, holes, names and files of another kind; and of pictures and weights in files."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from random import Random
from typing import Any

import torch
from case import Content, Link, Sparse
from mutate_bytes import ODD_INTEGERS, mutate_bytes
from mutate_json import mutate_tree, odd_value
from PIL import Image

__all__ = ["mutate_folder", "mutate_picture", "mutate_weights"]

_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
_NAMES = ("a\x1b[2J.png", "a\nb.png", ".hidden.png", "x.PNG", "x.png.txt", "é.png", "x" * 250 + ".png", "\u202ex.png")


def mutate_folder(random: Random, files: dict[str, Content]) -> None:
    """One file becomes a link, a hole, another's content, empty, or is missing; or one more lies there."""
    names = sorted(files)
    name, other = random.choice(names), random.choice(names)
    match random.randrange(8):
        case 0:
            files[name] = Link(
                random.choice((other.rpartition("/")[2], "/dev/zero", "/etc/passwd", "..", ".", "no", name))
            )
        case 1:
            start = files[name]
            files[name] = Sparse(start if isinstance(start, bytes) else b"", random.choice((2**20, 2**32, 2**40)))
        case 2:
            files[name] = files[other]
        case 3:
            files[name] = b""
        case 4:
            del files[name]
        case 5:
            files[f"{name.rpartition('/')[0] or name}/{random.choice(_NAMES)}".lstrip("/")] = files[other]
            files.pop(name.rpartition("/")[0], None)
        case 6:
            files[f"{name}.d/{random.choice(('x', '.x', 'manifest.json'))}"] = b"x"
        case _:
            files[random.choice((f"{name}/below", f"{name}/x.png"))] = files.pop(name)


def mutate_picture(random: Random, content: bytes) -> bytes:
    """A picture's bytes, its kind, its mode, or the size that a PNG claims."""
    match random.randrange(7):
        case 0 | 1:
            return mutate_bytes(random, content)
        case 2:
            return _png_claims(random)
        case 3:
            return random.choice(
                (_EPS, b"", b"GIF89a", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"P5 99999 99999 255\n")
            )
        case 4:
            modes = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I", "F", "I;16", "YCbCr", "HSV", "LAB")
            formats = (
                "png",
                "tiff",
                "gif",
                "webp",
                "jpeg",
                "bmp",
                "ppm",
                "ico",
                "tga",
                "pcx",
                "jpeg2000",
                "eps",
                "pdf",
            )
            size = random.choice(((8, 8), (1, 1), (8, 1), (3000, 3000), (64, 2)))
            return _encoded(Image.new(random.choice(modes), size), random.choice(formats))
        case 5:
            frames = [Image.new("P", (8, 8), index) for index in range(3)]
            return _encoded(frames[0], random.choice(("gif", "tiff", "png")), save_all=True, append_images=frames[1:])
        case _:
            exif = Image.Exif()
            exif[0x0112] = random.choice((*range(10), 2**16 - 1))
            return _encoded(Image.new("RGB", (8, 8), (9, 200, 30)), random.choice(("jpeg", "png", "webp")), exif=exif)


def _encoded(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, SystemError):  # this mode is not of that format
        image.convert("RGB").save(buffer, "png")
    return buffer.getvalue()


def _png_claims(random: Random) -> bytes:
    """Right checksums around a header that may lie."""
    width, height = (random.choice((0, 1, 8, 20_000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    header = struct.pack(
        ">IIBBBBB", width, height, *random.choice(((8, 0), (8, 2), (16, 0), (1, 3), (8, 6), (3, 9))), 0, 0, 0
    )
    pixels = zlib.compress(bytes(random.choice((0, 72, 2**20))))
    text = zlib.compress(bytes(random.choice((10, 2**26))), 9)
    chunks = [(b"IHDR", header), (b"zTXt", b"x\0\0" + text), (b"PLTE", bytes(3)), (b"IDAT", pixels), (b"IEND", b"")]
    if random.random() < 0.5:
        random.shuffle(chunks)
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def mutate_weights(random: Random, content: bytes, name: str) -> bytes:
    """A checkpoint: bytes, a member of its zip, a header of safetensors, or what the dictionary holds."""
    if name.endswith(".safetensors"):
        return _safetensors(random, content)
    match random.randrange(5):
        case 0:
            return mutate_bytes(random, content)
        case 1 if zipfile.is_zipfile(io.BytesIO(content)):
            return _member(random, content)
        case 2:
            return pickle.dumps(random.choice(({"a": _Calls()}, odd_value(random), [1, 2], _Calls())), protocol=2)
        case _:
            return _dictionary(random, content)


class _Calls:
    """Unpickled, it would raise in a function that no checkpoint may call."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('a checkpoint ran code')",))


def _safetensors(random: Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    match random.randrange(3):
        case 0:
            return mutate_bytes(random, content)
        case 1:
            return struct.pack("<Q", random.choice(ODD_INTEGERS) % 2**64) + content[8:]
        case _:
            header = json.dumps(mutate_tree(random, json.loads(content[8 : 8 + length]), most=1)).encode()
            return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _member(random: Random, content: bytes) -> bytes:
    """A zip of the same members, one of them changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        chosen = random.choice(old.namelist())
        for member in old.infolist():
            body = old.read(member)
            new.writestr(member, mutate_bytes(random, body) if member.filename == chosen else body)
    return buffer.getvalue()


def _dictionary(random: Random, content: bytes) -> bytes:
    state = torch.load(io.BytesIO(content), weights_only=True)
    state = dict(state.get("state_dict", state))
    key = random.choice(sorted(state))
    tensor = state[key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its quantized tensors deprecated
        quantized = torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)
    odd: tuple[Any, ...] = (
        quantized,
        tensor.double(),
        tensor.half(),
        tensor.to(torch.bfloat16),
        tensor.to(torch.complex64),
        tensor.bool(),
        tensor * float("nan"),
        tensor * 1e30,
        tensor[:0],
        tensor[None],
        tensor.reshape(-1),
        tensor.to_sparse(),
        tensor.to("meta"),
        torch.zeros(1).expand(2**31),
        tensor.numpy().tolist(),
        odd_value(random),
        {key: tensor},
        torch.nn.Parameter(tensor),
    )
    match random.randrange(5):
        case 0:
            del state[key]
        case 1:
            state[random.choice((f"module.{key}", f"{key}x", "", "\x1b[2J", 3))] = state.pop(key)
        case 2:
            state = {
                f"{random.choice(('module.', 'model.', '_orig_mod.', 'net.'))}{name}": value
                for name, value in state.items()
            }
        case _:
            state[key] = random.choice(odd)
    wrapped = random.choice(
        (state, {"state_dict": state}, {"model": state, "epoch": 3}, {"state_dict": odd_value(random)}, [state])
    )
    buffer = io.BytesIO()
    torch.save(wrapped, buffer, _use_new_zipfile_serialization=random.random() < 0.7)
    return buffer.getvalue()
