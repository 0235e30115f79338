# Sends the numbers of a run to wandb or trackio for gcpo. It stands behind `bridge.py`.
import importlib


class Tracker(object):
    def __init__(self):
        self.name = None
        self.package = None
        self.run = None

    def load(self, name):
        # Where gcpo was started there may be a directory of this name: wandb makes one.
        if sys.path and sys.path[0] == "":
            del sys.path[0]
        self.name = name
        try:
            self.package = importlib.import_module(name)
        except ImportError as error:
            if getattr(error, "name", None) != name:
                raise
            return [{"missing": sys.executable}]
        if not hasattr(self.package, "init"):
            return [{"missing": sys.executable}]
        return [{"version": str(getattr(self.package, "__version__", ""))}]

    def open(self, told):
        if self.name == "wandb":
            given = {"id": told["id"], "name": told["name"], "resume": "allow", "allow_val_change": True}
            if not os.environ.get("WANDB_DIR"):
                given["dir"] = told["dir"]
        else:
            # It knows a run that goes on by its name only.
            given = {"name": "%s-%s" % (told["name"], told["id"]), "resume": "allow"}
        if told["project"] is not None or not os.environ.get(self.name.upper() + "_PROJECT"):
            project = told["project"] or "gcpo"
        else:
            project = os.environ[self.name.upper() + "_PROJECT"]
        self.run = self.package.init(project=project, config=told["config"], **given)
        return [{"open": project}]

    def log(self, told):
        self.package.log(told["metrics"], step=told["step"])
        return [{"logged": told["step"]}]

    def finish(self, code):
        if self.name == "wandb":
            self.package.finish(exit_code=code)
        else:
            self.package.finish()
        return [{"finished": True}]

    def answer(self, request):
        try:
            if "load" in request:
                return self.load(request["load"])
            if "open" in request:
                return self.open(request["open"])
            if "log" in request:
                return self.log(request["log"])
            return self.finish(request["finish"])
        except Exception as error:
            # Where in the package it happened helps nobody here.
            raise Refused("".join(traceback.format_exception_only(type(error), error)).strip()[:LONGEST])


serve(Tracker().answer)
