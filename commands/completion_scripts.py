"""The scripts that shells complete with: each asks the program that is being typed."""

from __future__ import annotations

__all__ = ["SCRIPTS"]

_BASH = r"""
_monolith_completion() {
    local reply program=${1/#\~\//$HOME/}
    mapfile -t reply < <(
        _MONOLITH_COMPLETE=bash_complete "$program" \
            "${COMP_LINE:0:COMP_POINT}" "${COMP_LINE:COMP_POINT}" "$2" 2>/dev/null </dev/null
    )
    COMPREPLY=()
    case ${reply[0]} in
        dirs) compopt -o dirnames ;;
        files) compopt -o default ;;
        values) COMPREPLY=("${reply[@]:1}") ;;
    esac
}
complete -o nosort -F _monolith_completion monolith 2>/dev/null ||
    complete -F _monolith_completion monolith
"""

_ZSH = r"""
#compdef monolith
_monolith_completion() {
    local program=${(Q)words[1]} value text
    local -a reply plain described
    reply=("${(@0)$(
        _MONOLITH_COMPLETE=zsh_complete ${program/#\~\//$HOME/} $CURRENT \
            "${(@)words[1,CURRENT-1]}" "$QIPREFIX$IPREFIX$PREFIX" "${(@)words[CURRENT+1,-1]}" \
            2>/dev/null </dev/null
    )}")
    [[ -n $reply[2] ]] && compset -P "${(b)reply[2]}"
    case $reply[1] in
        dirs) _path_files -/ ;;
        files) _files ;;
        plain)
            plain=("${(@)reply[3,-2]}")
            compadd -V monolith -a plain
            ;;
        values)
            for value text in "${(@)reply[3,-2]}"; do
                if [[ -n $text ]]; then
                    described+=("${value//:/\\:}:$text")
                else
                    plain+=("$value")
                fi
            done
            (( $#plain )) && compadd -V monolith -a plain
            (( $#described )) && _describe -V monolith described
            ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _monolith_completion "$@"
else
    compdef _monolith_completion monolith
fi
"""

_FISH = r"""
function __monolith_complete
    set -l program (commandline -po)[1]
    set program (string replace -r '^~/' "$HOME/" -- $program)
    set -l reply (
        env _MONOLITH_COMPLETE=fish_complete $program \
            (commandline -cp | string collect) 2>/dev/null </dev/null | string split0
    )
    set -l current (string replace -- "$reply[2]" '' (commandline -ct))
    switch "$reply[1]"
        case dirs
            __fish_complete_directories $current | string replace -r '^' -- $reply[2]
        case files
            __fish_complete_path $current | string replace -r '^' -- $reply[2]
        case values
            test (count $reply) -gt 2; and string join0 -- $reply[3..] | string split0
    end
end
complete --command monolith --no-files --keep-order --arguments '(__monolith_complete)'
"""

SCRIPTS = {"bash": _BASH.strip(), "zsh": _ZSH.strip(), "fish": _FISH.strip()}
"""By the name of the shell."""
