# What each Python that gcpo starts runs first, in front of what it is started for. Lines of JSON come in by what was standard input and go
# out by what was standard output; prints go to standard error. Standard library only. Old Pythons, 2.7 even, must be able to read this
# file, and what stands behind it, to say that they are too old: no f-strings, no `async def`.
import sys

if sys.version_info < (3, 8):
    sys.stdout.write('{"old": "%d.%d.%d"}\n' % sys.version_info[:3])
    sys.stdout.flush()
    sys.exit(0)

import faulthandler
import json
import os
import traceback

FRAMES = 8
LONGEST = 2000


class Refused(Exception):
    """What is not as it must be, in words; `at` is the number of what it is about."""

    def __init__(self, what, at=None):
        Exception.__init__(self, what)
        self.at = at


def take_over():
    """The files of the lines. Prints, those of C too, go to standard error from here on; `input()` finds an end."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    return requests, replies


def told(error):
    """An exception, and the last lines of the user's code that led to it."""
    what = "".join(traceback.format_exception_only(type(error), error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith("<")]
    lines = [what[:LONGEST]]
    for frame in frames[-FRAMES:]:
        lines.append("  %s:%s in %s: %s" % (frame.filename, frame.lineno, frame.name, frame.line))
    cause = error.__cause__ or error.__context__
    if cause is not None and not error.__suppress_context__ or error.__cause__ is not None:
        first = "".join(traceback.format_exception_only(type(cause), cause)).strip()
        lines.append("  after %s" % first[:LONGEST])
    return "\n".join(lines)


def serve(answer):
    """Answers requests by what `answer` makes of each: a list of replies."""
    requests, replies = take_over()
    faulthandler.enable()
    for line in requests:
        request = json.loads(line.decode("utf-8"))
        # Where it hangs is said before it is ended for that.
        faulthandler.dump_traceback_later(0.9 * request["timeout"])
        try:
            found = answer(request)
        except Refused as error:
            found = [{"error": str(error), "at": error.at}]
        except BaseException as error:
            what = "cannot be loaded by %s (%s): " % (sys.executable, sys.version.split()[0]) if "load" in request else "raised "
            found = [{"error": what + told(error), "at": None}]
        finally:
            faulthandler.cancel_dump_traceback_later()
        for reply in found:
            replies.write(json.dumps(reply, allow_nan=False).encode("ascii") + b"\n")
        replies.flush()


