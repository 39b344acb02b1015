"""pluggy's manager with yadtq's rules: checks at registration, events that never raise, and a trace.

    YADTQ_TRACE_PLUGINS=1

writes a line to stderr for every hook call: process, hook, time and plugins.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pluggy
from pluggy._hooks import HookImpl

from yadtq_core.errors import InvalidInput, PluginError
from yadtq_core.installed import reason
from yadtq_core.plugin import hookspecs
from yadtq_core.tasks.retry import RetryPolicy

TRACE = "YADTQ_TRACE_PLUGINS"
NAMES = tuple(name for name in vars(hookspecs) if name.startswith("yadtq_"))
"""Every hook, in the order of `hookspecs`."""
BINDING: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "yadtq_task_runner": ("a callable", callable),
    "yadtq_task_context": ("a callable", callable),
    "yadtq_result_serializer": ("a name", lambda answer: isinstance(answer, str)),
    "yadtq_retry_policy": ("a RetryPolicy", lambda answer: isinstance(answer, RetryPolicy)),
}
"""Hooks that are called once per task definition: their answer, in words and as a test."""
_CALLED_ONE_BY_ONE = frozenset(NAMES) - hookspecs.EVENTS - BINDING.keys()
"""Hooks called by `Hooks.call_each`, which would never call a wrapper."""

log = logging.getLogger("yadtq.plugins")


class Hooks(pluggy.PluginManager):
    """The hooks of one client, worker or child.

    `failures` counts the errors of event hooks by (plugin, hook). `calling` is the (plugin, hook) of the event that
    began last. The events of a worker come from one thread, so while they wait it names the call that takes long.
    """

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.failures: Counter[tuple[str, str]] = Counter()
        self.calling = ("", "")
        self._sealed = False
        self.add_hookspecs(hookspecs)
        self._trace = Trace() if os.environ.get(TRACE, "").lower() not in ("", "0", "false", "no") else None
        if self._trace:
            self.add_hookcall_monitoring(self._trace.before, self._trace.after)

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Add a plugin. name: its name in messages; default: the name of the module or class.

        Raises PluginError if it breaks a rule; then none of its hooks is registered.
        """
        spoken = name or self._free(getattr(plugin, "__name__", type(plugin).__name__))
        if self._sealed:
            raise PluginError(
                f"plugin {spoken} comes too late: hooks are bound when a client, worker or child opens; "
                "pass it to `load_plugins`, or install it with an entry point"
            )
        _check_api(plugin)
        for attribute in dir(plugin):
            self._check(plugin, attribute)
        try:
            registered = super().register(plugin, spoken)
        except Exception as error:
            if self.is_registered(plugin):  # some versions of pluggy leave it partly registered
                self.unregister(plugin)
            raise PluginError(" ".join(str(error).split())) from error
        for caller in self.get_hookcallers(plugin) or ():
            if caller.name in hookspecs.EVENTS:
                self._guard(caller, plugin, self._guarded)
            elif caller.name in BINDING:
                self._guard(caller, plugin, self._named)
        return registered

    def _free(self, name: str) -> str:
        """Return a name that no plugin has; a number distinguishes objects of one class."""
        names = itertools.chain([name], (f"{name} {number}" for number in itertools.count(2)))
        return next(one for one in names if not self.has_plugin(one))

    def seal(self) -> None:
        """Refuse further plugins, because hooks are called and bound from now on."""
        self._sealed = True

    def implemented(self, hook: str) -> bool:
        """True when at least one plugin implements this hook."""
        return bool(getattr(self.hook, hook).get_hookimpls())

    def order(self, hook: str) -> list[str]:
        """Return the plugins that implement a hook, in the order of their calls.

        Events, and hooks of which only the first answer is used, are called from the last registered plugin to the
        first; other hooks from the first to the last. The context of the first is the outermost.
        """
        caller = getattr(self.hook, hook)
        names = [implementation.plugin_name for implementation in caller.get_hookimpls()]
        backwards = hook in hookspecs.EVENTS or caller.spec.opts.get("firstresult")
        return names[::-1] if backwards else names

    def call_each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a hook of every plugin, first registered first; return (plugin, answer) for each answer but None.

        Raises PluginError with the name of the plugin that raised.
        """
        answers = []
        for implementation in getattr(self.hook, hook).get_hookimpls():
            begun = time.perf_counter()
            try:
                answer = implementation.function(*(arguments[name] for name in implementation.argnames))
            except (PluginError, InvalidInput):
                raise
            except (Exception, SystemExit) as error:
                raise _failed(implementation.plugin_name, hook, error) from error
            if self._trace:
                self._trace.line(hook, implementation.plugin_name, time.perf_counter() - begun)
            if answer is not None:
                answers.append((implementation.plugin_name, answer))
        return answers

    def _check(self, plugin: object, attribute: str) -> None:
        options = self.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            if attribute in NAMES and callable(getattr(plugin, attribute, None)):
                raise PluginError(f"{attribute} is not marked: put @hookimpl (from yadtq_core.plugin) above it")
            return
        name = options.get("specname") or attribute
        if name not in NAMES:
            if not options.get("optionalhook"):
                raise PluginError(f"there is no hook {name!r}{_close(name)}")
            return
        implementation = getattr(plugin, attribute)
        if inspect.iscoroutinefunction(implementation):
            raise PluginError(f"{name} is an async function; hooks are plain functions")
        _check_kind(name, implementation, wraps=bool(options.get("wrapper") or options.get("hookwrapper")))
        _check_parameters(name, implementation)

    def _guard(self, caller: Any, plugin: object, guarded: Callable[[HookImpl, str], Callable[..., Any]]) -> None:
        """Replace a plugin's implementations of a hook by functions that handle their errors; wrappers stay."""
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin and not (implementation.wrapper or implementation.hookwrapper):
                implementation.function = guarded(implementation, caller.name)

    def _guarded(self, implementation: HookImpl, hook: str) -> Callable[..., None]:
        """Return an event implementation whose errors are logged with the plugin's name and counted, never raised."""
        function, plugin = implementation.function, implementation.plugin_name
        place = (plugin, hook)

        def guarded(*arguments: Any) -> None:
            self.calling = place
            try:
                function(*arguments)
            except BaseException as error:
                if _is_ctrl_c(error):
                    raise
                self.failed(plugin, hook, error)

        return guarded

    def _named(self, implementation: HookImpl, hook: str) -> Callable[..., Any]:
        """Return a binding implementation that raises PluginError, with its name, for an error or a wrong answer."""
        function, plugin = implementation.function, implementation.plugin_name
        wanted, serves = BINDING[hook]

        def named(*arguments: Any) -> Any:
            try:
                answer = function(*arguments)
            except (Exception, SystemExit) as error:
                raise _failed(plugin, hook, error) from error
            if answer is not None and not serves(answer):
                raise PluginError(f"plugin {plugin}: {hook} gave {answer!r:.80}, not {wanted} or None")
            return answer

        return named

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an event hook. Raises nothing but KeyboardInterrupt in the main thread."""
        self.calling = ("(a wrapper)", hook)
        try:
            getattr(self.hook, hook)(**arguments)
        except BaseException as error:  # raised by a wrapper: the traceback shows its plugin
            if _is_ctrl_c(error):
                raise
            self.failed("(a wrapper)", hook, error)

    def failed(self, plugin: str, hook: str, error: BaseException) -> None:
        """Count an error of an event hook, and log the first, the tenth, the hundredth … one."""
        self.failures[plugin, hook] += 1
        count = self.failures[plugin, hook]
        if str(count).strip("0") == "1":
            log.error("plugin %s: %s failed (%d times in total)", plugin, hook, count, exc_info=error)


class Trace:
    """Writes a line to stderr after every hook call."""

    def __init__(self) -> None:
        self._begun = threading.local()

    def before(self, _hook: str, _impls: Sequence[HookImpl], _arguments: Any) -> None:
        """Note the start of a call. Calls may nest, and come from several threads."""
        if not hasattr(self._begun, "at"):
            self._begun.at = []
        self._begun.at.append(time.perf_counter())

    def after(self, outcome: Any, hook: str, impls: Sequence[HookImpl], _arguments: Any) -> None:
        """Write the line of a call that ended."""
        plugins = ", ".join(impl.plugin_name for impl in reversed(impls)) or "no plugin"
        raised = f" raised {type(outcome.exception).__name__}" if outcome.exception is not None else ""
        self.line(hook, plugins + raised, time.perf_counter() - self._begun.at.pop())

    def line(self, hook: str, plugins: str, seconds: float) -> None:
        """Write one line."""
        sys.stderr.write(f"yadtq trace [{os.getpid()}] {hook} {seconds * 1e6:.1f} us: {plugins}\n")


def _is_ctrl_c(error: BaseException) -> bool:
    """True for a Ctrl-C of the user. In another thread than the main one a plugin has raised KeyboardInterrupt."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _failed(plugin: str, hook: str, error: BaseException) -> PluginError:
    return PluginError(f"plugin {plugin}: {hook} failed: {reason(error)}")


def _check_api(plugin: object) -> None:
    wanted = getattr(plugin, "YADTQ_API", hookspecs.API_VERSION)
    if wanted != hookspecs.API_VERSION:
        raise PluginError(
            f"it needs yadtq API {wanted}, this is {hookspecs.API_VERSION}; install a release of it for this yadtq"
        )


def _check_kind(name: str, implementation: Any, *, wraps: bool) -> None:
    """Raise PluginError for a wrapper that would not be called, and for a generator that would not run."""
    if wraps and name in _CALLED_ONE_BY_ONE:
        raise PluginError(f"{name} takes no wrapper: each plugin is called separately")
    if not wraps and inspect.isgeneratorfunction(implementation) and name in {*hookspecs.EVENTS, "yadtq_configure"}:
        raise PluginError(f"{name} is a generator (it has a yield), so it would not run; hooks are plain functions")


def _check_parameters(name: str, implementation: Any) -> None:
    """Raise PluginError for a parameter that the hook does not have. An implementation may take fewer."""
    hook = getattr(hookspecs, name)
    offered = list(inspect.signature(hook).parameters)
    for parameter in inspect.signature(implementation).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(f"{name} takes no * or ** parameters; it has ({', '.join(offered)})")
        if parameter.name not in offered:
            raise PluginError(f"{name} has no parameter {parameter.name!r}; it has ({', '.join(offered)})")
        if parameter.default is not parameter.empty:
            raise PluginError(f"{name}: remove the default of {parameter.name!r}, or pluggy never passes this argument")


def _close(name: str) -> str:
    close = difflib.get_close_matches(name, NAMES, 1)
    return f"; did you mean {close[0]!r}?" if close else "; docs/hooks.md lists them"
