"""Drives a BMC by sushy: a command a line in, what is then so as JSON out."""

import json
import sys

import sushy
from sushy import auth

CHOICES = {
    "boot": {
        "cd": sushy.BootSource.CD,
        "disk": sushy.BootSource.HDD,
        "none": sushy.BootSource.NONE,
    },
    "lasting": {
        "once": sushy.BootSourceOverrideEnabled.ONCE,
        "continuous": sushy.BootSourceOverrideEnabled.CONTINUOUS,
        "disabled": sushy.BootSourceOverrideEnabled.DISABLED,
    },
}


def drive(system, words):
    match words:
        case ["power", reset]:
            system.reset_system(sushy.ResetType(reset))
        case ["boot", target, lasting]:
            system.set_system_boot_options(
                target=CHOICES["boot"][target], enabled=CHOICES["lasting"][lasting]
            )
        case ["insert", url]:
            cd_drive(system).insert_media(url)
        case ["eject"]:
            cd_drive(system).eject_media()
        case ["state"]:
            pass
        case _:
            raise ValueError(f"no such command: {words}")


def cd_drive(system):
    members = system.virtual_media.get_members()
    return next(it for it in members if sushy.VirtualMediaType.CD in it.media_types)


def state(system):
    drive = cd_drive(system)
    drive.invalidate()
    drive.refresh()
    return {
        "power": system.power_state.value,
        "target": system.boot.target.value,
        "lasting": system.boot.enabled.value,
        "image": drive.image,
        "inserted": drive.inserted,
    }


def main():
    url, path, user, password, authority = sys.argv[1:]
    by_session = auth.SessionAuth(username=user, password=password)
    root = sushy.Sushy(url, auth=by_session, verify=authority)
    system = root.get_system(path)
    for line in sys.stdin:
        drive(system, line.split())
        system.invalidate()
        system.refresh()
        print(json.dumps(state(system)), flush=True)


if __name__ == "__main__":
    main()
