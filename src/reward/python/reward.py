# Calls one reward function for gcpo as TRL 1.16 calls it. It stands behind `bridge.py`.
import asyncio
import difflib
import functools
import importlib
import importlib.util
import inspect
import math
import random


def shown(value):
    """A value in few characters, with its type."""
    try:
        text = repr(value)
    except Exception:
        text = "a value"
    text = text if len(text) <= 200 else text[:200] + "..."
    return "%s (%s)" % (text, type(value).__name__)


def imported(setup):
    """The file or the module that the function is in."""
    if "module" in setup:
        return importlib.import_module(setup["module"])
    path = setup["file"]
    if not os.path.isfile(path):
        raise Refused("cannot be loaded: there is no file %s" % path)
    # As `python FILE.py` does: what lies beside the file can be imported, and not what lies where gcpo was started.
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.path.dirname(path)
    else:
        sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules or name in getattr(sys, "stdlib_module_names", ()):
        # It must not take the place of a module of this name.
        name = "reward_" + name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise Refused("cannot be loaded: %s is no Python file (.py)" % path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def found(module, path):
    """What a dotted name is in a module."""
    value = module
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            names = [n for n in dir(value) if not n.startswith("_") and callable(getattr(value, n, None))]
            near = difflib.get_close_matches(name, names, 3) or names[:8]
            help = "; there are %s" % ", ".join("`%s`" % n for n in near) if near else ""
            raise Refused("cannot be loaded: there is no `%s` in it%s" % (name, help))
    return value


def load(setup):
    """The reward function: as it is, or what it makes of `args`; with `kwargs` bound."""
    function = found(imported(setup), setup["name"])
    args = setup.get("args")
    if args is not None:
        if not callable(function):
            raise Refused("has `args`, but %s cannot be called with them: leave `args` out" % shown(function))
        function = function(**args)
        if not callable(function):
            raise Refused(
                "with its `args` makes %s, which cannot be called: `args` is for what makes a reward function; give fixed"
                " arguments of the function itself as `kwargs`" % shown(function)
            )
    elif inspect.isclass(function):
        raise Refused("is a class: give `args`, with which it is made (`args = {}` if it takes none)")
    if not callable(function):
        raise Refused("is %s, and no function" % shown(function))
    if setup.get("kwargs"):
        function = functools.partial(function, **setup["kwargs"])
    return function


def name_of(function):
    """TRL's `get_callable_name`."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


GIVEN = ["prompts", "completions", "completion_ids"]
LOGGED = ["trainer_state", "log_extra", "log_metric"]


def check(function, columns, kwargs):
    """Whether the function can be called with what it will be given."""
    given = GIVEN + columns + LOGGED
    both = [name for name in kwargs if name in given]
    if both:
        raise Refused("has `%s` in its `kwargs`, which it is given with every call: take it out" % both[0])
    double = [name for name in columns if name in GIVEN + LOGGED]
    if double:
        raise Refused("cannot be given the column `%s` of the problems: its name has a meaning of its own; rename it" % double[0])
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = inspect.Parameter
    named = {p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    needed = [p for p in parameters if p.default is kinds.empty]
    needed = [p for p in needed if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    missing = [p.name for p in needed if p.name not in given or p.kind is kinds.POSITIONAL_ONLY]
    if missing:
        help = "; it makes a reward function, perhaps, and needs `args`" if "completions" not in named and len(missing) == len(needed) else ""
        raise Refused(
            "asks for %s, which it is not given; it is given %s%s" % (listed(missing), listed(given), help)
        )
    over = [name for name in given if name not in named]
    if over and not any(p.kind is kinds.VAR_KEYWORD for p in parameters):
        raise Refused("takes no %s, which every reward is given, as in TRL: add `**kwargs` to its parameters" % listed(over))


def listed(names):
    return ", ".join("`%s`" % name for name in names)


class TrainerState(object):
    """What is known of transformers' `TrainerState`."""

    def __init__(self, known):
        self.__dict__.update(known)

    def __getattr__(self, name):
        raise AttributeError("gcpo's trainer_state has no `%s`; it has %s" % (name, listed(sorted(self.__dict__))))


def number(value, at):
    """A reward as a float, or None."""
    if value is None:
        return None
    what = value
    try:
        if isinstance(value, (str, bytes, complex)):
            raise TypeError
        # Of numpy and torch.
        what = value.item() if hasattr(value, "item") else value
        what = None if what is None else float(what)
    except Exception:
        raise Refused("returned %s, neither a number nor None," % shown(value), at)
    if what is not None and not math.isfinite(what):
        raise Refused("returned %s (return None where the reward does not apply)" % shown(value), at)
    return what


def rewards(output, count):
    """What the function returned, as one number or None for each completion."""
    wants = "it must return a list with a number or None for each completion"
    if isinstance(output, (str, bytes, dict, set, frozenset)):
        raise Refused("returned %s; %s" % (shown(output), wants))
    try:
        output = list(output)
    except TypeError:
        raise Refused("returned %s; %s" % (shown(output), wants))
    if len(output) != count:
        raise Refused("returned %d rewards for %d completions; %s" % (len(output), count, wants))
    return [number(value, at) for at, value in enumerate(output)]


def plain(value):
    """A logged value as JSON can hold it: others as the text that Python makes of them."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(of) for of in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


class Log(object):
    """What the function logs in a call."""

    def __init__(self):
        self.extra = {}
        self.metrics = {}

    def log_extra(self, column, values):
        self.extra.setdefault(str(column), []).extend(values)

    def log_metric(self, name, value):
        value = value.item() if hasattr(value, "item") else value
        self.metrics.setdefault(str(name), []).append(float(value))

    def check(self, count):
        for column, values in self.extra.items():
            if len(values) != count:
                what = "logged %d values as `%s` (log_extra) for %d completions; it must log one for each"
                raise Refused(what % (len(values), column, count))

    def of(self, at):
        return {column: plain(values[at]) for column, values in self.extra.items()}

    def means(self):
        means = {name: sum(values) / len(values) for name, values in self.metrics.items()}
        return {name: mean if math.isfinite(mean) else None for name, mean in means.items()}


def seed(number):
    """Chance in a function is the same in a run that is resumed; of numpy and torch where the function has them."""
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)


class Bridge(object):
    def __init__(self):
        self.function = None
        self.kwargs = {}
        self.loop = None

    def load(self, setup):
        self.function = load(setup)
        self.kwargs = setup.get("kwargs") or {}
        return [{"ready": name_of(self.function)}]

    def check(self, columns):
        check(self.function, columns, self.kwargs)
        return [{"fits": True}]

    def ask(self, asked):
        seed(asked["seed"])
        log = Log()
        output = self.function(
            prompts=asked["prompts"],
            completions=asked["completions"],
            completion_ids=asked["completion_ids"],
            trainer_state=TrainerState(asked["trainer_state"]),
            log_extra=log.log_extra,
            log_metric=log.log_metric,
            **asked["columns"]
        )
        if inspect.isawaitable(output):
            # One loop for all calls: clients that a function keeps are bound to theirs.
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                asyncio.set_event_loop(self.loop)
            output = self.loop.run_until_complete(output)
        count = len(asked["completions"])
        values = rewards(output, count)
        log.check(count)
        lines = [{"reward": value, "extra": log.of(at)} for at, value in enumerate(values)]
        return lines + [{"metrics": log.means()}]

    def answer(self, request):
        if "load" in request:
            return self.load(request["load"])
        if "check" in request:
            return self.check(request["check"])
        return self.ask(request["ask"])


serve(Bridge().answer)
