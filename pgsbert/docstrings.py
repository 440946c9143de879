"""The demo's corpus: docstrings of the running Python's standard library.

Sources are parsed, not imported; a few quiet, much used modules are imported for their half in C.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import sysconfig
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Kind = Literal["module", "class", "function", "method"]

SHORTEST = 20  # characters: below that a docstring says nothing
SKIPPED = {
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "encodings",
    "pydoc_data",
    "__hello__",
    "__phello__",
}

# Prepared for the demo: everyday words, few of them in the docstring that answers.
QUESTIONS = (
    "How much space is left on my hard drive?",
    "What day of the week was I born on?",
    "How do I stop a log file from growing forever?",
    "How many cores does this laptop have?",
    "What is a good way to draw lottery numbers?",
)

# What people ask about first: "module: its names that come before everything else".
BEST_KNOWN = """
builtins: abs all any bytes.decode callable chr dict dict.get dict.pop dict.update dir enumerate eval
    filter float getattr hex id input int isinstance len list list.append list.extend list.index
    list.insert list.pop list.sort map max min ord pow print property range repr reversed round set
    set.add set.intersection set.union sorted str str.capitalize str.center str.count str.encode
    str.endswith str.format str.isdigit str.join str.lower str.replace str.split str.splitlines
    str.startswith str.strip str.translate str.upper str.zfill sum type zip KeyError ValueError
    StopIteration KeyboardInterrupt RecursionError
os: chdir chmod cpu_count getcwd getenv getpid kill listdir makedirs mkdir remove rename rmdir scandir
    stat symlink urandom walk
os.path: abspath basename dirname exists expanduser expandvars getmtime getsize join realpath relpath
    split
pathlib: Path Path.glob Path.home Path.iterdir Path.mkdir Path.read_text Path.rglob Path.unlink
    Path.write_text PurePath.stem PurePath.suffix PurePath.with_suffix
json: dump dumps load loads JSONEncoder JSONDecoder
re: compile escape findall finditer fullmatch match search split sub
datetime: date date.today date.weekday datetime datetime.combine datetime.fromisoformat
    datetime.fromtimestamp datetime.now datetime.strptime datetime.timestamp timedelta
    timedelta.total_seconds tzinfo
time: localtime monotonic perf_counter sleep strftime strptime time
calendar: isleap monthrange weekday
collections: ChainMap Counter Counter.most_common OrderedDict defaultdict deque deque.popleft
    deque.rotate namedtuple
itertools: accumulate chain combinations cycle groupby islice pairwise permutations product repeat
    zip_longest
functools: cache cmp_to_key lru_cache partial reduce total_ordering wraps
math: comb degrees dist exp factorial floor gcd hypot isclose lcm log10 sin sqrt
statistics: mean median mode quantiles stdev variance linear_regression correlation
random: Random.choice Random.choices Random.gauss Random.randint Random.sample Random.shuffle
    Random.uniform
secrets: token_hex token_urlsafe
subprocess: CalledProcessError Popen Popen.communicate check_output run
shutil: copy copy2 copytree disk_usage get_terminal_size make_archive move rmtree unpack_archive which
tempfile: NamedTemporaryFile TemporaryDirectory gettempdir mkdtemp
glob: glob
fnmatch: filter fnmatch
sys: exit getrefcount getsizeof intern setrecursionlimit
io: BytesIO StringIO
threading: Condition Event RLock Semaphore Thread Thread.join Thread.start Timer current_thread
queue: Queue Queue.get Queue.put PriorityQueue
multiprocessing:
multiprocessing.pool: Pool.map
concurrent.futures: Executor.map Executor.submit Future.result as_completed wait
asyncio: Queue Task.cancel TaskGroup create_task gather open_connection run sleep start_server timeout
    to_thread wait_for
logging: Formatter Logger.exception Logger.setLevel StreamHandler basicConfig disable getLogger warning
logging.handlers: RotatingFileHandler SMTPHandler TimedRotatingFileHandler
urllib.request: build_opener urlopen urlretrieve
urllib.parse: parse_qs quote unquote urlencode urljoin urlparse
csv: Sniffer.sniff reader writer
sqlite3: Connection.backup Connection.commit Connection.execute Connection.rollback connect
socket: create_connection create_server getaddrinfo gethostbyname gethostname socket
ssl: SSLContext create_default_context
http.server: BaseHTTPRequestHandler SimpleHTTPRequestHandler
http.cookies: SimpleCookie
smtplib: SMTP SMTP.login SMTP.sendmail SMTP.send_message
email: message_from_string
email.message: Message.get_payload
email.utils: parseaddr
unittest: TestCase TestCase.assertAlmostEqual TestCase.assertEqual TestCase.assertRaises TestCase.setUp
    skip
unittest.mock: Mock patch
argparse: ArgumentParser Namespace
configparser: ConfigParser RawConfigParser.read
typing: Any Literal Optional Protocol TypedDict cast get_type_hints
dataclasses: asdict dataclass field replace
enum: Enum auto unique
abc: ABC abstractmethod
contextlib: ExitStack closing contextmanager redirect_stdout suppress
copy: copy deepcopy
pickle: dumps loads
struct: pack unpack
base64: b64decode b64encode
hashlib: file_digest pbkdf2_hmac
uuid: UUID uuid1 uuid4
gzip: GzipFile compress open
zipfile: ZipFile ZipFile.extractall
tarfile: TarFile.extractall
heapq: heappop heappush nlargest
bisect: bisect_left insort_right
decimal: Decimal Decimal.quantize
fractions: Fraction
string: Template capwords
textwrap: dedent fill indent shorten wrap
difflib: get_close_matches unified_diff
pprint: pprint
html: escape unescape
xml.etree.ElementTree: parse iterparse indent
inspect: getsource signature
traceback: format_exc
warnings: filterwarnings warn
timeit: timeit
pdb:
cProfile: Profile
signal: alarm signal
getpass: getuser
platform: platform python_version system
importlib: import_module reload
webbrowser: open
operator: attrgetter itemgetter
weakref: WeakValueDictionary finalize
"""

# Modules in C, and modules in Python whose C half is named after them: both are quiet when imported.
IN_C = """
    array atexit binascii builtins errno faulthandler fcntl gc grp itertools marshal math mmap pwd resource
    select sys syslog termios time unicodedata zlib
"""
PARTLY_IN_C = """
    codecs collections contextvars csv datetime decimal functools hashlib io pickle random signal socket
    sqlite3 ssl struct tracemalloc weakref
"""
NATIVE: Mapping[str, str] = {
    **{name: name for name in IN_C.split()},
    **{name: f"_{name}" for name in PARTLY_IN_C.split()},
    "os": "posix",
    "threading": "_thread",
}
SOURCES: Mapping[str, tuple[str, ...]] = {"os.path": ("posixpath", "genericpath")}


@dataclass(frozen=True)
class Docstring:
    """One documented thing; `name` is what a program writes: "json.dumps", or "str.split" of builtins."""

    module: str
    name: str
    kind: Kind
    signature: str
    text: str


def collect() -> Iterator[Docstring]:
    """Yield each different docstring once, in a fixed order, everyday names of well-known modules first.

    Whatever cannot be read or parsed is left out; texts have no NUL and are valid UTF-8.
    """
    everyday = _everyday_names()
    best_known = {module: list(_read(module)) for module in everyday}
    return _unique(
        (entry for module, names in everyday.items() for entry in _named(best_known[module], names)),
        (entry for entries in best_known.values() for entry in entries),
        (entry for module in _modules() if module not in best_known for entry in _read(module)),
    )


def _everyday_names() -> dict[str, list[str]]:
    """Return the qualified names of BEST_KNOWN by module, each module's own name first."""
    everyday: dict[str, list[str]] = {}
    for word in BEST_KNOWN.split():
        if word.endswith(":"):
            module = word.removesuffix(":")
            everyday[module] = [module]
        else:
            everyday[module].append(_qualified(module, word))
    return everyday


def _named(entries: Iterable[Docstring], names: Iterable[str]) -> Iterator[Docstring]:
    documented: dict[str, Docstring] = {}
    for entry in entries:
        documented.setdefault(entry.name, entry)
    return (documented[name] for name in names if name in documented)


def _unique(*parts: Iterable[Docstring]) -> Iterator[Docstring]:
    names: set[str] = set()
    texts: set[str] = set()
    for part in parts:
        for entry in part:
            if len(entry.text) >= SHORTEST and entry.name not in names and entry.text not in texts:
                names.add(entry.name)
                texts.add(entry.text)
                yield entry


def _modules() -> list[str]:
    """Return every module of the library, the private ones last; nothing is imported."""
    names = set(NATIVE)
    for top in sys.stdlib_module_names - SKIPPED:
        names.update(_submodules(top, _library() / top))
    return sorted(names, key=lambda name: (any(part.startswith("_") for part in name.split(".")), name))


def _submodules(name: str, path: Path) -> Iterator[str]:
    if path.with_suffix(".py").is_file():
        yield name
    if not (path / "__init__.py").is_file():
        return
    yield name
    for child in path.iterdir():
        if child.stem not in SKIPPED and child.stem.isidentifier() and child.stem not in {"__init__", "__main__"}:
            yield from _submodules(f"{name}.{child.stem}", child.with_suffix(""))


@cache
def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _read(module: str) -> Iterator[Docstring]:
    for source in SOURCES.get(module, (module,)):
        yield from _read_source(module, source)
    if module in NATIVE:
        yield from _read_native(module, NATIVE[module])


# Python sources.


def _read_source(module: str, source: str) -> Iterator[Docstring]:
    tree = _parse(source)
    if tree is None:
        return
    if text := ast.get_docstring(tree):
        yield Docstring(module, module, "module", "", _storable(text))
    yield from _definitions(module, "", tree.body)
    for submodule, names in _exports(module, tree):
        if submodule_tree := _parse(submodule):
            exported = names or _all(submodule_tree)
            yield from (
                entry
                for entry in _definitions(module, "", submodule_tree.body)
                if entry.name.removeprefix(f"{module}.").split(".")[0] in exported
            )


def _parse(module: str) -> ast.Module | None:
    path = _library() / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old escape in a source of the library is not the reader's concern
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _exports(package: str, tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Yield the submodules whose names the package offers as its own; no names means all public ones."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            source = f"{package}.{node.module}" if node.level == 1 else node.module
            if source.startswith(f"{package}."):
                yield source, {alias.name for alias in node.names} - {"*"}


def _all(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            names.update(str(item.value) for item in ast.walk(node.value) if isinstance(item, ast.Constant))
    return names


def _definitions(module: str, owner: str, body: Iterable[ast.stmt]) -> Iterator[Docstring]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_"):
                yield from _definition(module, owner, node)
        elif isinstance(node, ast.If | ast.Try):
            handlers = node.handlers if isinstance(node, ast.Try) else []
            branches = [*node.body, *(line for handler in handlers for line in handler.body), *node.orelse]
            yield from _definitions(module, owner, branches)


def _definition(
    module: str, owner: str, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[Docstring]:
    name = f"{owner}.{node.name}" if owner else node.name
    is_class = isinstance(node, ast.ClassDef)
    if text := ast.get_docstring(node):
        kind: Kind = "class" if is_class else "method" if owner else "function"
        yield Docstring(module, _qualified(module, name), kind, _signature(node, bound=bool(owner)), _storable(text))
    if is_class:
        yield from _definitions(module, name, node.body)


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool) -> str:
    if isinstance(node, ast.ClassDef):
        made_by = [line for line in node.body if isinstance(line, ast.FunctionDef) and line.name == "__init__"]
        return _signature(made_by[0], bound=True) if made_by else ""
    parameters = ast.unparse(node.args)
    if bound:
        parameters = re.sub(r"^(self|cls)(, /)?(, |$)", "", parameters)
    return f"({parameters})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


# Modules in C.


def _read_native(module: str, native: str) -> Iterator[Docstring]:
    try:
        found = importlib.import_module(module)
    except ImportError:  # not on this platform, or left out of this build
        return
    if found.__doc__:
        yield Docstring(module, module, "module", "", _storable(inspect.cleandoc(found.__doc__)))
    for name, value in _members(found):
        if getattr(value, "__module__", None) in {module, native}:
            yield from _describe(module, name, value, "class" if inspect.isclass(value) else "function")
            if inspect.isclass(value):
                for member, inner in _members(value):
                    yield from _describe(module, f"{name}.{member}", inner, "method")


def _members(owner: object) -> list[tuple[str, object]]:
    """Return the public members in C or Python, things under their own name before their aliases."""
    members = [
        (name, value.__func__ if isinstance(value, staticmethod | classmethod) else value)
        for name, value in vars(owner).items()
        if not name.startswith("_")
    ]
    documented = [(name, value) for name, value in members if _is_code(value)]
    return sorted(documented, key=lambda pair: (getattr(pair[1], "__name__", pair[0]) != pair[0], pair[0]))


def _is_code(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value) or inspect.isdatadescriptor(value)


def _describe(module: str, name: str, value: object, kind: Kind) -> Iterator[Docstring]:
    text = getattr(value, "__doc__", None)
    if isinstance(text, str):
        text = _storable(inspect.cleandoc(text))
        yield Docstring(module, _qualified(module, name), kind, _native_signature(value), text)


def _native_signature(value: object) -> str:
    if not callable(value):
        return ""
    try:
        signature = str(inspect.signature(value))
    except (ValueError, TypeError, AttributeError):  # none is known, or its defaults name what is not there
        return ""
    signature = re.sub(r"^\((\$?self|type|\$?cls)(, /)?(, |(?=\)))", "(", signature)
    return re.sub(r" at 0x[0-9a-f]+", "", signature)  # an address would differ at each run


def _qualified(module: str, name: str) -> str:
    return name if module == "builtins" else f"{module}.{name}"


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL, and UTF-8 no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
