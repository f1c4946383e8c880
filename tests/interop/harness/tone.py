"""Tones as WAV files, and which tone a recording holds (Goertzel, RFC-free arithmetic)."""

import array
import math
import wave

RATE_HZ = 8000


def write(path, frequency_hz, seconds=30.0, level=0.5):
    """A mono 16-bit 8 kHz WAV file with one tone."""
    samples = array.array("h", (
        int(level * 32767 * math.sin(2 * math.pi * frequency_hz * n / RATE_HZ))
        for n in range(int(seconds * RATE_HZ))))
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())


def read(path):
    """(rate in Hz, samples of the first channel); tolerates a header not yet finished."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"RIFF" or b"data" not in data[:200]:
        return RATE_HZ, array.array("h")
    channels = int.from_bytes(data[22:24], "little") or 1
    rate = int.from_bytes(data[24:28], "little") or RATE_HZ
    start = data.index(b"data") + 8
    body = data[start:]
    body = body[:len(body) // (2 * channels) * 2 * channels]
    samples = array.array("h")
    samples.frombytes(body)
    return rate, samples[::channels]


def power(samples, rate, frequency_hz):
    """The share of the signal's energy at one frequency, 0 to 1."""
    total = sum(s * s for s in samples)
    if not total:
        return 0.0
    turn = 2 * math.cos(2 * math.pi * frequency_hz / rate)
    one = two = 0.0
    for sample in samples:
        one, two = sample + turn * one - two, one
    energy = one * one + two * two - turn * one * two
    return 2 * energy / (len(samples) * total)


def seconds_of(path, frequency_hz, share=0.8, least_level=500):
    """How many seconds of the recording are that tone (in windows of a tenth of a second)."""
    rate, samples = read(path)
    window = rate // 10
    hits = 0
    for at in range(0, len(samples) - window + 1, window):
        piece = samples[at:at + window]
        loud = math.sqrt(sum(s * s for s in piece) / window) >= least_level
        if loud and power(piece, rate, frequency_hz) >= share:
            hits += 1
    return hits / 10
