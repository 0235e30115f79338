# Holds one program that a model wrote, and nothing else: neither tests nor expected values are ever in this process. It loads the
# program, calls what it is told to call, and answers in plain data. What it says is the program's own claim, whoever wrote it.
import os, sys


def main():
    inside = os.fdopen(os.dup(0), "rb")
    outside = os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    paths = int(inside.readline())
    sys.path[:] = [path for path in sys.path if path] + [inside.readline().decode().rstrip("\n") for _ in range(paths)]
    source = inside.read(int(inside.readline())).decode()
    try:
        from _json import encode_basestring_ascii as quoted
    except ImportError:
        from json.encoder import py_encode_basestring_ascii as quoted
    objects = []

    def encode(value, depth=0):
        if value is None:
            return "null"
        if value is True:
            return "true"
        if value is False:
            return "false"
        if depth > 150:
            raise ValueError("a result that is too deep")
        if isinstance(value, int):
            return '["i","%s"]' % int.__format__(value, "x")
        if isinstance(value, float):
            return '["f","%s"]' % float.hex(value)
        if isinstance(value, str):
            return '["s",%s]' % quoted(str.__str__(value))
        for kind, mark in ((list, "l"), (tuple, "t"), (set, "e"), (frozenset, "z")):
            if isinstance(value, kind):
                items = ",".join([encode(item, depth + 1) for item in kind.__iter__(value)])
                return '["%s",[%s]]' % (mark, items)
        if isinstance(value, dict):
            pairs = ["[%s,%s]" % (encode(key, depth + 1), encode(item, depth + 1)) for key, item in dict.items(value)]
            return '["d",[%s]]' % ",".join(pairs)
        if isinstance(value, (bytes, bytearray)):
            return '["%s","%s"]' % ("b" if isinstance(value, bytes) else "a", value.hex())
        if isinstance(value, complex):
            return '["c","%s","%s"]' % (value.real.hex(), value.imag.hex())
        kind = type(value)
        if kind.__module__ == "decimal" and kind.__name__ == "Decimal":
            return '["D",%s]' % quoted(str(value))
        if kind.__module__ == "fractions" and kind.__name__ == "Fraction":
            return '["q","%x","%x"]' % (value.numerator, value.denominator)
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and not hasattr(value, "__len__"):
            return encode(value.item(), depth + 1)
        if kind is type and value.__module__ == "builtins":
            return '["T",%s]' % quoted(value.__name__)
        objects.append(value)
        return '["o",%d,%s]' % (len(objects) - 1, quoted(kind.__name__))

    def say(text):
        data = (text + "\n").encode()
        while data:
            data = data[os.write(outside, data):]

    def failed(error):
        message = str(error) if not isinstance(error, SystemExit) else "the program ended itself"
        return '["err",%s,%s]' % (quoted(type(error).__name__), quoted(message[:300]))

    module = type(sys)("candidate")
    sys.modules["candidate"] = module
    try:
        exec(compile(source, "<program>", "exec"), module.__dict__)
        said = '["ok",null,null]'
    except BaseException as error:
        said = failed(error)
    say(said)

    def mutable(arguments):
        return [encode(value) if isinstance(value, (list, dict, set, bytearray)) else None for value in arguments]

    def call(function, arguments, named):
        before = mutable(arguments)
        result = function(*arguments, **named)
        after = mutable(arguments)
        changed = "null" if before == after else "[%s]" % ",".join(
            "null" if old == new else '["v",%s]' % new for old, new in zip(before, after))
        return '["ok",%s,%s]' % (encode(result), changed)

    def one(what, target, *rest):
        if what == "call":
            return call(module.__dict__[target], *rest)
        target = objects[target]
        if what == "again":
            return call(target, *rest)
        if what == "get":
            return '["ok",%s,null]' % encode(getattr(target, rest[0]))
        if what == "set":
            setattr(target, *rest)
            return '["ok",null,null]'
        if what == "list":
            return '["ok",%s,null]' % encode(list(target))
        raise ValueError(what)

    names = {"R": objects.__getitem__, "F": float.fromhex}
    for line in inside:
        try:
            if b"D(" in line or b"Q(" in line:
                from decimal import Decimal
                from fractions import Fraction
                names.update(D=Decimal, Q=Fraction)
            said = one(*eval(line.decode(), names))
        except BaseException as error:
            said = failed(error)
        say(said)
    os._exit(0)


main()
