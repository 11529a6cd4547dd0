"""Words of memory that a convolution takes in a core of the DYNAP-CNN family, and what a core offers.

Addresses are concatenated bit fields, so that every extent except one rounds up to a power of two:

    kernel words = c_in * 2^(ceil(log2(k_x k_y)) + ceil(log2(c_out)))
    neuron words = c_out * 2^(ceil(log2 h_out) + ceil(log2 w_out))     before pooling
    bias words   = c_out, none without a bias

Source: memory_summary of sinabs 3.1.3, confirmed by the refusals of samna 0.7.1's validator.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Words of the three memories: 8-bit kernel words, 16-bit neuron words, bias words."""

    kernel: int
    neuron: int
    bias: int


@dataclass(frozen=True)
class CoreMemory:
    """What one core offers, in words."""

    kernel_words: int
    neuron_words: int
    bias_words: int

    def shortages(self, words: Words) -> tuple[tuple[str, int, int], ...]:
        """(memory, needed, offered) of every memory that is too small; empty when the words fit."""
        pairs = (
            ("kernel", words.kernel, self.kernel_words),
            ("neuron", words.neuron, self.neuron_words),
            ("bias", words.bias, self.bias_words),
        )
        return tuple(pair for pair in pairs if pair[1] > pair[2])

    def fits(self, words: Words) -> bool:
        """Whether every memory is large enough."""
        return not self.shortages(words)


def _address_bits(n: int) -> int:
    return max(n - 1, 0).bit_length()


def kernel_words(c_in: int, c_out: int, kernel: tuple[int, int]) -> int:
    """8-bit words of a kernel [c_out, c_in, k_y, k_x].

    >>> kernel_words(1, 33, (3, 3))  # 9 places take 16, 33 channels take 64
    1024
    """
    return c_in << (_address_bits(kernel[0] * kernel[1]) + _address_bits(c_out))


def neuron_words(shape: tuple[int, int, int]) -> int:
    """16-bit words of the states of an output map (c, h, w) before pooling.

    >>> neuron_words((1, 9, 17))
    512
    """
    channels, height, width = shape
    return channels << (_address_bits(height) + _address_bits(width))


def layer_words(c_in: int, kernel: tuple[int, int], out_shape: tuple[int, int, int], *, bias: bool) -> Words:
    """All words of a layer whose kernel is [c, c_in, *kernel] and whose map before pooling is out_shape = (c, h, w)."""
    return Words(kernel_words(c_in, out_shape[0], kernel), neuron_words(out_shape), out_shape[0] if bias else 0)


def out_map(
    in_map: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int]:
    """(h, w) of a convolution's output: floor((n - k + 2 p) / s) + 1 per axis, all pairs (y, x).

    >>> out_map((17, 16), (3, 3), (2, 1), (1, 0))
    (9, 14)
    """
    height, width = ((n - k + 2 * p) // s + 1 for n, k, s, p in zip(in_map, kernel, stride, padding, strict=True))
    return height, width
