# fish completion of phi_runner, both as `phi-runner` and as `python -m phi_runner`.
# phi-runner --shell-completion install=fish | source
function __phi_runner_ask
    set -l words (commandline -opc)
    set -l program $words[1]
    if test "$words[2]" = -m
        set program $words[1..3]
    end
    env COMP_LINE=(commandline -cp) $program --shell-completion query=fish 2> /dev/null
end
function __phi_runner_python
    set -l words (commandline -opc)
    test (count $words) -ge 3; and test "$words[2]" = -m; and test "$words[3]" = phi_runner
end
complete -c phi-runner -k -a '(__phi_runner_ask)'
complete -c python -n __phi_runner_python -k -a '(__phi_runner_ask)'
complete -c python3 -n __phi_runner_python -k -a '(__phi_runner_ask)'
