# bash completion of phi_runner, both as `phi-runner` and as `python -m phi_runner`.
# eval "$(phi-runner --shell-completion install=bash)"
_phi_runner_ask() { # the program, and the words that start it
  local word="${COMP_LINE:0:COMP_POINT}" reply
  word="${word##* }"
  COMPREPLY=()
  while IFS= read -r reply; do
    # readline has cut the word at its own breaks, "=" among them: what stands before stays as it is
    [[ "$COMP_WORDBREAKS" == *=* && "$word" == *=* ]] && reply="${reply#"${word%"${word##*=}"}"}"
    COMPREPLY+=("$reply")
  done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" "$@" --shell-completion query=bash 2> /dev/null)
  # a setting waits for its value, a list for its next part: no blank behind them
  [[ "${COMPREPLY[0]}" == *[=.] || "${COMPREPLY[0]}$word" == *\[* ]] && compopt -o nospace 2> /dev/null
  return 0
}
_phi_runner() { _phi_runner_ask "${COMP_WORDS[0]}"; }
_phi_runner_python() { # other uses of Python keep the completion that they had
  if [[ "${COMP_WORDS[1]}" == -m && "${COMP_WORDS[2]}" == phi_runner && $COMP_CWORD -gt 2 ]]; then
    _phi_runner_ask "${COMP_WORDS[@]:0:3}"
  elif [[ -n "$_PHI_RUNNER_BEFORE" ]]; then
    "$_PHI_RUNNER_BEFORE" "$@"
  fi
}
declare -F _completion_loader > /dev/null && ! complete -p python &> /dev/null && _completion_loader python
if [[ "$(complete -p python 2> /dev/null)" =~ \ -F\ ([^\ ]+) && "${BASH_REMATCH[1]}" != _phi_runner_python ]]; then
  _PHI_RUNNER_BEFORE="${BASH_REMATCH[1]}"
fi
complete -o default -F _phi_runner phi-runner
complete -o default -F _phi_runner_python python python3
