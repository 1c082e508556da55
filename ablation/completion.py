"""Completion in bash of `ablation-run` and `python -m ablation.run`; Hydra's own script does not know `python -m`."""

from __future__ import annotations

from collections.abc import Sequence

# Words are split as the user's bash does, at = too, so only what follows the last split is replaced.
_INSTALL = r"""_ablation_run() {
    local line=${COMP_LINE:0:COMP_POINT} command=${COMP_WORDS[0]} word current choice
    case $line in
        *python*" -m ablation.run "*) command="${line%%" -m ablation.run "*} -m ablation.run" ;;
        *python*) return ;;
    esac
    word=${line##* } current=${COMP_WORDS[COMP_CWORD]}
    [[ $current == "=" ]] && current=
    while IFS= read -r choice; do
        [[ $choice == "$word"* ]] && COMPREPLY+=("${choice#"${word%"$current"}"}")
    done < <(COMP_LINE="ablation-run${line#"$command"}" $command -sc query=bash 2> /dev/null | tr " " "\n")
}
complete -o nospace -o default -F _ablation_run ablation-run python python3"""
_UNINSTALL = "complete -r ablation-run python python3; unset -f _ablation_run"


def completion_script(arguments: Sequence[str]) -> str | None:
    """Return the script for bash that a command line asks for; None if it asks for something else."""
    if not {"-sc", "--shell-completion"} & {*arguments}:
        return None
    scripts = {"install=bash": _INSTALL, "uninstall=bash": _UNINSTALL}
    return next((script for word, script in scripts.items() if word in arguments), None)
