# Runs tests, one job a line. The program under test is in another process, in another sandbox: what the tests call goes there as
# plain data and comes back as plain data, and is compared here. No code of a model is ever in this process.
import ast, builtins, json, math, os, signal, sys

inside = os.fdopen(os.dup(0), "rb")
outside = os.fdopen(os.dup(1), "wb")
null = os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
sys.path[:] = [path for path in sys.path if path]
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)


class Dead(BaseException):
    """The program has ended, or does not answer: nothing that a test catches."""


class CandidateError(Exception):
    """An error of the program that is none of Python's own."""


state = {"dead": None, "at": ""}


def say(**what):
    outside.write(json.dumps(what).encode() + b"\n")
    outside.flush()


def ask(request):
    if state["dead"]:
        raise Dead(state["dead"])
    say(ask=request)
    line = inside.readline()
    if line[:1] != b"+":
        state["dead"] = line[1:].decode(errors="replace").strip() or "the program ended"
        raise Dead(state["dead"])
    try:
        kind, *rest = json.loads(line[1:])
    except Exception:
        state["dead"] = "the program wrote to where only results go"
        raise Dead(state["dead"])
    if kind == "ok":
        return rest
    name, message = rest
    error = getattr(builtins, name, None)
    plain = isinstance(error, type) and issubclass(error, Exception)
    state["at"] = f"{name}: {message}"
    try:
        error = error(message) if plain else CandidateError(f"{name}: {message}")
    except Exception:
        error = CandidateError(f"{name}: {message}")
    raise error


def decoded(value):
    if value is None or value is True or value is False:
        return value
    kind, *rest = value
    if kind == "i":
        return int(rest[0], 16)
    if kind == "f":
        return float.fromhex(rest[0])
    if kind == "s":
        return rest[0]
    if kind in ("l", "t", "e", "z"):
        return {"l": list, "t": tuple, "e": set, "z": frozenset}[kind]([decoded(item) for item in rest[0]])
    if kind == "d":
        return {decoded(key): decoded(item) for key, item in rest[0]}
    if kind in ("a", "b"):
        return (bytes if kind == "b" else bytearray).fromhex(rest[0])
    if kind == "c":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if kind == "D":
        from decimal import Decimal
        return Decimal(rest[0])
    if kind == "q":
        from fractions import Fraction
        return Fraction(int(rest[0], 16), int(rest[1], 16))
    if kind == "T":
        found = getattr(builtins, rest[0])
        if isinstance(found, type):
            return found
    if kind == "o":
        return Remote(int(rest[0]), str(rest[1]))
    raise ValueError(f"no value: {kind}")


def encoded(value, depth=0):
    kind = type(value)
    if depth > 150:
        raise TypeError("an argument that is too deep")
    if kind in (type(None), bool, int, str, bytes):
        return repr(value)
    if kind is float:
        return f"F({value.hex()!r})"
    if kind is type and getattr(builtins, value.__name__, None) is value:
        return value.__name__
    if kind is Remote:
        return f"R({value._number})"
    if kind in (list, set, tuple, frozenset):
        items = "[" + ",".join([encoded(item, depth + 1) for item in value]) + "]"
        return items if kind is list else f"{kind.__name__}({items})"
    if kind is dict:
        return "{" + ",".join([f"{encoded(k, depth + 1)}:{encoded(v, depth + 1)}" for k, v in value.items()]) + "}"
    if kind is complex:
        return f"complex({encoded(value.real)},{encoded(value.imag)})"
    if kind is bytearray:
        return f"bytearray({bytes(value)!r})"
    if kind.__name__ == "Decimal":
        return f"D({str(value)!r})"
    if kind.__name__ == "Fraction":
        return f"Q({value.numerator},{value.denominator})"
    if isinstance(value, (int, float, str, list, tuple, dict, set)):
        base = next(of for of in (int, float, str, list, tuple, dict, set) if isinstance(value, of))
        return encoded(base(value), depth + 1)
    if isinstance(value, (range, map, filter, zip)) or hasattr(value, "__next__"):
        return encoded(list(value), depth + 1)
    raise TypeError(f"a test hands over a {kind.__name__}, and only plain data goes to the program")


def call(what, target, arguments, named):
    given = "[" + ",".join([encoded(value) for value in arguments]) + "]"
    result, changed = ask(f"({what!r},{target!r},{given},{encoded(named)})")
    for value, new in zip(arguments, changed or []):
        if new is not None:
            new = decoded(new[1])
            if type(value) in (list, bytearray):
                value[:] = new
            elif type(value) in (dict, set):
                value.clear()
                value.update(new)
    return decoded(result)


class Remote:
    """An object of the program's own. It is equal to nothing but itself, whatever its class says."""

    def __init__(self, number, kind):
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_kind", kind)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return decoded(ask(f"('get',{self._number},{name!r})")[0])

    def __setattr__(self, name, value):
        ask(f"('set',{self._number},{name!r},{encoded(value)})")

    def __call__(self, *arguments, **named):
        return call("again", self._number, arguments, named)

    def __iter__(self):
        return iter(decoded(ask(f"('list',{self._number})")[0]))

    def __repr__(self):
        return f"<{self._kind} of the program>"


class Named:
    """A function or class of the program."""

    def __init__(self, name):
        self.__name__ = name

    def __call__(self, *arguments, **named):
        return call("call", self.__name__, arguments, named)


def names_of(tests, reference):
    """What tests ask the program for: names that nobody else has, or that the reference defines."""
    own = set()
    for node in ast.parse(reference).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
    loaded, stored = set(), set()
    for node in ast.walk(ast.parse("\n".join(tests))):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            stored.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            stored.add(node.name)
            stored.update(argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg))
    for name in (loaded - stored):
        if name in own or not hasattr(builtins, name) and name not in sys.stdlib_module_names:
            yield name


def late(_signal, _frame):
    state["dead"] = state["dead"] or "the tests took too long"
    raise Dead(state["dead"])


signal.signal(signal.SIGALRM, late)


def run(job):
    state.update(dead=None, at="")
    world = {"__name__": "tests", "__builtins__": builtins}
    passed, first = 0, ""
    signal.setitimer(signal.ITIMER_REAL, job["secs"])
    try:
        exec(compile(job["helpers"], "<helpers>", "exec"), world)
        names = job["names"]
        if names is None:
            names = names_of([job["setup"], *job["tests"]], job["reference"])
        for name in ("math", "sys", "re", "collections", "itertools", "functools"):
            if name not in world and any(name + "." in test for test in job["tests"]):
                world[name] = __import__(name)
        world.update((name, Named(name)) for name in names)
        exec(compile(job["setup"], "<setup>", "exec"), world)
        for test in job["tests"]:
            try:
                state["at"] = ""
                exec(compile(test, "<test>", "exec"), world)
                passed += not state["dead"]
            except Exception as error:
                first = first or state["at"] or f"{type(error).__name__}: {error}".rstrip(": ")
                first += f" in {test.strip()}" if len(test) < 200 and "\n" not in test and " in " not in first else ""
    except Dead as error:
        first = first or str(error)
    except Exception as error:
        first = first or state["at"] or f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    first = state["dead"] or first
    if state["dead"]:
        passed = min(passed, len(job["tests"]) - 1)
    say(passed=passed, why=first[:500])


for line in inside:
    run(json.loads(line))
