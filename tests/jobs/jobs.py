"""Jobs for tests, made and changed by the names of their fields, whatever part these are in."""

from dataclasses import fields, replace

from masa_cli.jobs.job import Association, Perception, TrackInput, TrackJob
from masa_cli.jobs.outputs import Outputs

PARTS = {
    "input": TrackInput,
    "perception": Perception,
    "association": Association,
    "outputs": Outputs,
}


def new_job(source, detector, folder, stem="street", **options):
    parts = (TrackInput(source), Perception(detector), Association(), Outputs(folder, stem))
    return changed(TrackJob(*parts), **options)


def changed(job, **options):
    """The same job with other fields; `association` is the name of one."""
    if "association" in options:
        options["name"] = options.pop("association")
    for part, kind in PARTS.items():
        own = {
            field.name: options.pop(field.name) for field in fields(kind) if field.name in options
        }
        job = replace(job, **{part: replace(getattr(job, part), **own)})
    assert not options, f"no fields of a job: {options}"
    return job
