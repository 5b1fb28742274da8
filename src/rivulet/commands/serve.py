"""`rivulet serve`: WebSocket, HTTP and a page on one port."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivulet.commands.flags import add_recognizer_flags, load_recognizer, new_formatters
from rivulet.errors import ConfigError

if TYPE_CHECKING:
    from rivulet.server.app import Settings
    from rivulet.server.running import Address

TOKEN_VARIABLE = "RIVULET_TOKEN"  # a flag's value is seen by everyone who can list processes
LOG_LEVELS = ("debug", "info", "warning", "error")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("serve", help="a server for live streams", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=2700, help="(%(default)s, vosk-server's)")
    parser.add_argument(
        "--wyoming", type=int, metavar="PORT", help="speak the Wyoming protocol there, too"
    )
    parser.add_argument(
        "--sample-rate",
        type=int,
        default=8000,
        metavar="HZ",
        help="of vosk clients that do not say theirs (%(default)s, vosk-server's)",
    )
    _add_access_flags(parser)
    _add_limit_flags(parser)
    add_recognizer_flags(parser, subtitles=False)
    parser.set_defaults(run=run)


def _add_access_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may connect")
    group.add_argument(
        "--token", help=f"what clients have to know; better in the variable {TOKEN_VARIABLE}"
    )
    group.add_argument(
        "--insecure", action="store_true", help="serve other machines without a token"
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a page elsewhere that may connect, such as https://example.org; * for all",
    )
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, if not in there")


def _add_limit_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument("--streams", type=int, default=32, help="live at once (%(default)s)")
    group.add_argument(
        "--processes", type=int, metavar="N", help="one a core, as far as --streams need them"
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="threads that compute, of each process"
    )
    group.add_argument(
        "--max-upload", type=float, default=100.0, metavar="MB", help="largest file (%(default)s)"
    )
    group.add_argument(
        "--max-length",
        type=float,
        default=4.0,
        metavar="HOURS",
        help="longest stream or file (%(default)s)",
    )
    group.add_argument(
        "--idle",
        type=float,
        default=60.0,
        metavar="S",
        help="close connections that send nothing for so long (%(default)s)",
    )
    group.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        import rivulet.server.app
        import rivulet.server.running
    except ImportError as error:
        raise ConfigError(
            f"the server needs the package {error.name}; pip install 'rivulet[server]'."
        ) from error
    processes = processes_of(args)
    settings = settings_of(args, processes)
    logging.basicConfig(
        level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(
        logging.ERROR
    )  # below, it logs addresses with tokens
    address = rivulet.server.running.Address(
        args.host, args.port, args.wyoming, args.tls_cert, args.tls_key
    )
    rivulet.server.running.check_files(address)
    recognizer = load_recognizer(args)
    rivulet.server.running.serve(recognizer, settings, address, _announce, processes)
    return 0


def processes_of(args: argparse.Namespace) -> int:
    """Return how many processes serve.

    Raises:
        ConfigError: so many cannot be.
    """
    from rivulet.server.processes import check_processes, default_processes

    if args.processes is None:
        return default_processes(args.streams)
    check_processes(args.processes)
    return int(args.processes)


def settings_of(args: argparse.Namespace, processes: int = 1) -> "Settings":
    """Return what the flags say, for each of so many processes.

    Raises:
        ConfigError: other machines would be served unprotected, or a limit serves nobody.
    """
    from rivulet.server.app import Settings
    from rivulet.server.processes import cores
    from rivulet.server.settings import Access, Limits, check_host, is_loopback

    token = args.token or os.environ.get(TOKEN_VARIABLE) or None
    check_host(args.host, token, args.insecure)
    if args.wyoming is not None and not is_loopback(args.host) and not args.insecure:
        raise ConfigError(
            f"--wyoming {args.wyoming} on --host {args.host} has no token in its protocol; give "
            "--insecure to serve everyone, or listen on this machine only."
        )
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"{args.workers} workers compute nothing; give at least 1.")
    limits = Limits(
        streams=args.streams,
        upload_bytes=int(args.max_upload * 1e6),
        length_s=args.max_length * 3600.0,
        idle_s=args.idle,
    )
    access = Access(token, frozenset(args.allow_origin), is_loopback(args.host))
    workers = args.workers or max(1, cores() // processes)
    return Settings(limits, access, args.sample_rate, workers, new_formatters(args))


def _announce(address: "Address") -> None:
    print(f"page        {address.url}")
    print(f"vosk        {address.url.replace('http', 'ws', 1)}")
    print(f"events      {address.url.replace('http', 'ws', 1)}v1/stream")
    print(f"files       {address.url}v1/audio/transcriptions")
    if address.wyoming_port is not None:
        print(f"wyoming     tcp://{address.host}:{address.wyoming_port}")
    sys.stdout.flush()
