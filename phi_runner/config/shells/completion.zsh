# zsh completion of phi_runner, both as `phi-runner` and as `python -m phi_runner`.
# eval "$(phi-runner --shell-completion install=zsh)"
_phi_runner_ask() { # the program, and the words that start it
  local -a replies
  replies=("${(@f)$(COMP_LINE="${LBUFFER:-${(j: :)words[1,CURRENT]}}" "$@" --shell-completion query=zsh 2> /dev/null)}")
  if [[ -z "${replies[*]}" ]]; then
    compset -P '*='
    _files
  elif [[ "${replies[1]}" == *[=.] || "${replies[1]}" == *"["* ]]; then # more of the word is to come
    compadd -Q -S '' -- "${replies[@]}"
  else
    compadd -Q -- "${replies[@]}"
  fi
}
_phi_runner() { _phi_runner_ask "${words[1]}" }
_phi_runner_python() { # other uses of Python keep the completion that they had
  if [[ "${words[2]}" == -m && "${words[3]}" == phi_runner ]] && (( CURRENT > 3 )); then
    _phi_runner_ask "${(@)words[1,3]}"
  elif (( $+functions[_python] )) || autoload -Uz +X _python 2> /dev/null; then
    _python "$@"
  else
    _files
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _phi_runner phi-runner
compdef _phi_runner_python python python3
