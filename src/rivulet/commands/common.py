"""Flags that several commands share."""

import argparse

from rivulet import checkpoint
from rivulet.endpoint import EndpointConfig
from rivulet.errors import ConfigError
from rivulet.recognizer import BLOCK_MS, DEFAULT_BLOCK_MS, Recognizer


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Declare which model runs and how."""
    parser.add_argument(
        "-m", "--model", default=checkpoint.DEFAULT_NAME, help="model name or folder (%(default)s)"
    )
    parser.add_argument(
        "--block-ms",
        type=int,
        choices=BLOCK_MS,
        default=DEFAULT_BLOCK_MS,
        help="the model advances by so much sound at a time (%(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of the network (%(default)s)"
    )


def add_endpoint_flags(parser: argparse.ArgumentParser) -> None:
    """Declare when a segment ends."""
    default = EndpointConfig()
    group = parser.add_argument_group("endpoints (Kaldi's rules, in seconds; inf switches one off)")
    group.add_argument(
        "--rule1-silence",
        type=float,
        default=default.rule1_silence_s,
        metavar="S",
        help="silence that ends a segment without speech (%(default)s)",
    )
    group.add_argument(
        "--rule2-silence",
        type=float,
        default=default.rule2_silence_s,
        metavar="S",
        help="silence that ends a segment after speech (%(default)s)",
    )
    group.add_argument(
        "--rule3-length",
        type=float,
        default=default.rule3_length_s,
        metavar="S",
        help="the longest segment (%(default)s)",
    )


def load_recognizer(args: argparse.Namespace) -> Recognizer:
    """Return the recognizer that the flags describe."""
    import torch

    if args.threads < 1:
        raise ConfigError(f"{args.threads} threads cannot compute; use at least 1.")
    torch.set_num_threads(args.threads)
    endpoint = EndpointConfig(args.rule1_silence, args.rule2_silence, args.rule3_length)
    return Recognizer.load(args.model, args.block_ms, endpoint)
