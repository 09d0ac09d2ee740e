# shellcheck shell=bash disable=SC2034,SC2154
#
# The code folder, held against what was sent. See guards/trees.

# Is the tree what was sent? Looked at beside everything else that must be asked; the answer is in code-check.txt.
code::look() {
    code_look=''
    if [[ -z $code_dir ]]; then return; fi
    if [[ -z $code_contents ]]; then
        printf 'unknown: not verified on the node: an older tfslurm made the plan\n' >"$facts/code-check.txt"
        return
    fi
    (
        node::_deaf
        tree::verify "$code_file" "$code_contents" "code-$code_contents" "$code_dir" sent
    ) >"$facts/code-check.txt" 2>/dev/null </dev/null &
    code_look=$!
}

code::check() {
    local said=''
    if [[ -z $code_look ]]; then return; fi
    node::_wait "$code_look" node::_is_stopped
    IFS= read -r said <"$facts/code-check.txt" || :
    if [[ -z $said ]]; then task::_stop_if_told; fi
    if [[ $said != ok:* ]]; then
        task::refuse code "${said#failed: }" "remove $code_dir (chmod -R u+w, rm -r), then submit again"
    fi
}
