# shellcheck shell=bash disable=SC2034,SC2154
#
# What entry.sh reports from within the container.

# What entry.sh saw in the container, before the program ran. It comes through a pipe that the container can only write to:
# whoever can read could take words out, and the image's Python, which runs the experiment's modules, is asked last. After
# the line `end`, or words that entry.sh does not write, nothing is read any more. A report without its end is not believed.
# In report is the open pipe, which nobody can open for reading any more: its mount is read-only, so no chmod helps.
report::make() {
    if ! mkfifo --mode=0600 "$facts/report.pipe" 2>"$facts/report.txt"; then
        local said=''
        IFS= read -r said <"$facts/report.txt" || :
        task::refuse root "${said#mkfifo: }" 'put the root on a file system that has named pipes' "$EX_TEMPFAIL"
    fi
    printf 'nothing was reported\n' >"$facts/report.txt"
    report_next=gpus report_cgroup='' report_cpus='' report_list='' report_gpus='' report_no='' report_tensorflow=''
    report_lines=0
    exec {report}<>"$facts/report.pipe"
    chmod 0200 "$facts/report.pipe"
}

# Reads up to a line that begins with $1, or to the end.
report::read() {
    local LC_ALL=C line kind
    while [[ $report_next != nothing ]] && report::_line; do
        if ((report_lines == 1)); then printf 'what was reported has no end\n' >"$facts/report.txt"; fi
        kind=${report_line%% *} line=${report_line#* }
        case $report_next,$kind in
        gpus,cgroup) report_cgroup+=$line$'\n' ;;
        gpus,cpus) report_cpus=$line ;;
        gpus,nvidia-smi) report_list+=$line$'\n' ;;
        gpus,gpus) report_gpus=$line report_next=words ;;
        words,no) report_no=$line report_next=end ;;
        words,tensorflow)
            report::_tensorflow "$line"
            report_next=end ;;
        words,end | end,end)
            report::_keep
            report_next=nothing ;;
        *) report_next=nothing ;;
        esac
        if [[ $kind == "$1" && $kind != end ]]; then return; fi
    done
    exec {report}>&-
    report=''
}

# The experiment's modules may have said it: only in the words of gpu_check.py is it an answer.
report::_tensorflow() {
    report_tensorflow="unknown: the check of TensorFlow said what it never says"
    if [[ $1 == unknown:* || $1 =~ ^(ok|failed):\ TensorFlow\ [0-9A-Za-z.+-]+\ lists\ [0-9]+\ of\ [0-9]+\ granted\ GPUs?$ ]]; then
        report_tensorflow=$1
    fi
}

# The next line, in report_line. Fails when there is none: the container is gone, or has said more than entry.sh does.
report::_line() {
    local part code alive
    report_line=''
    if ((++report_lines > 400)); then return 1; fi
    while ((${#report_line} < 1000)); do
        alive='' code=0 part=''
        if kill -0 "$client" 2>/dev/null; then alive=yes; fi
        IFS= read -r -t 0.2 -n 1000 -u "$report" part || code=$?
        report_line+=${part//[![:print:]]/?}
        if ((code == 0 && ${#part} < 1000)); then return 0; fi
        if [[ -z $alive ]]; then return 1; fi
        if ((report_lines == 1)); then container::await_start; fi
    done
    return 1
}

# The report is whole: what it says becomes facts.
report::_keep() {
    local folder=$facts/container
    if [[ -n $covered ]]; then report_cgroup='' report_cpus=''; fi
    if [[ -n $covered && $report_gpus == ok* ]]; then
        report_list='' report_gpus="unknown: $covered is mounted over what the check consists of"
    fi
    if [[ -n $report_cgroup ]]; then printf %s "$report_cgroup" >"$folder/cgroup.txt"; fi
    if [[ -n $report_cpus ]]; then printf '%s\n' "$report_cpus" >"$folder/cpus.txt"; fi
    if [[ -n $report_list ]]; then printf %s "$report_list" >"$folder/nvidia-smi-L.txt"; fi
    if [[ -n $report_tensorflow ]]; then printf '%s\n' "$report_tensorflow" >"$folder/tensorflow-gpu.txt"; fi
    if [[ -n $report_no ]]; then printf '%s\n' "$report_no" >"$folder/refused.txt"; fi
    printf '%s\n' "$report_gpus" >"$folder/gpu-check.txt"
    time::now
    if [[ "$report_gpus $report_tensorflow" != *failed:* && -z $report_no ]]; then
        printf '%s\n' "$now" >"$folder/program-started-at.txt"
        event program-started
    fi
    printf 'whole\n' >"$facts/report.txt"
}

# For ends that the report explains: in report_end whether it was whole, in gpu_check and report_no what it said.
report::wait() {
    gpu_check='' report_no='' report_end=''
    if [[ $state_code != "$EX_CONFIG" ]] && ! engine::init_failed "$state_code"; then return; fi
    if [[ -n ${slow_facts-} ]]; then node::_wait "$slow_facts"; fi
    if [[ -r $facts/report.txt ]]; then IFS= read -r report_end <"$facts/report.txt" || :; fi
    if [[ $report_end != whole ]]; then return; fi
    IFS= read -r gpu_check <"$facts/container/gpu-check.txt" || :
    if [[ -r $facts/container/refused.txt ]]; then IFS= read -r report_no <"$facts/container/refused.txt" || :; fi
}

# In covered is a folder of the container that the experiment puts over what entry.sh's checks consist of, if $1 is one: over
# the system's own folders, or over one in which the image's variables have programs and libraries looked for.
report::covered() {
    local place line words
    local -a places=() more
    for line in ${image_has[@]+"${image_has[@]}"}; do
        if [[ $line != \"PATH=* && $line != \"LD_* ]]; then continue; fi
        words=${line#*=}
        IFS=: read -r -a more <<<"${words%\"}:"
        places+=("${more[@]}")
    done
    for place in /bin /sbin /lib /lib32 /lib64 /libx32 /usr /nix /gnu /etc/ld.so.{cache,conf,conf.d,preload} ${places[@]+"${places[@]}"}; do
        if [[ $place != /* ]]; then place=/workspace; fi # what is empty or relative is looked for where the program begins
        if [[ -n $1 && ("$1/" == "$place"/* || "$place/" == "$1"/*) ]]; then covered=$1; fi
    done
}
