"""The measurements and their conditions, as Markdown; and the results of earlier runs in a file."""

import json
import os
import platform
import re
import subprocess

import goals


def kept(path):
    """Returns the parts that an earlier run measured; the parts of this run replace them."""
    if not path or not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def shown(parts, results):
    """Returns the whole report: the goals, then the parts in their order, with the conditions wherever they change."""
    text, last = [goals.show({name: part["found"] for name, part in results.items()})], None
    for name in (name for name in parts if name in results):
        if results[name]["run"] != last:
            last = results[name]["run"]
            text.append(head(last))
        text.append(section(parts[name], name, results[name]))
    return "\n".join(text)


def section(module, name, part):
    return f"### {name}\n\n{module.__doc__.strip()}\n\n{module.show(part['found'])}"


def head(conditions):
    lines = [f"{conditions['machine']}. {', '.join(conditions['versions'])}. Medians of {conditions['rounds']} rounds, "
             f"scale {conditions['scale']:g}.\n"]
    return "\n".join([*lines, *(f"{name}: {why}.\n" for name, why in conditions["absent"].items())])


def insert(text, path):
    """Writes the report between the two marking comments of the page."""
    with open(path) as file:
        before, _old, after = re.split(r"(?<=<!-- begin of bench.py's tables -->\n)(.*)(?=<!-- end of)", file.read(),
                                      flags=re.DOTALL)
    with open(path, "w") as file:
        file.write(f"{before}\n{text}\n{after}")


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return f"{len(os.sched_getaffinity(0))} processors ({model}), Linux {platform.release()}"


def versions(options):
    asked = {"redis": [options.redis, "--version"], "portcullis": [options.portcullis, "--version"],
             "haproxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"], "rinetd": ["rinetd", "--version"],
             "twemproxy": ["nutcracker", "--version"], "envoy": [options.envoy, "--version"]}
    wanted = {"redis", *(name.split("-")[0] for name in options.peers)}
    return [f"{name} {said(command)}" for name, command in asked.items() if name in wanted]


def said(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    number = re.search(r"(?<!\w)\d+\.\d[\w.+-]*", done.stdout + done.stderr)
    return number.group() if number else "of unknown version"
