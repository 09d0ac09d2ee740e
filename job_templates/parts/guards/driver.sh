# shellcheck shell=bash disable=SC2034,SC2154
#
# The node's driver, held against the oldest that the image admits.

# Asks for the driver's version: the kernel module tells it for nothing, nvidia-smi beside everything else.
driver::look() {
    driver_look='' driver_version='' driver_asked=''
    if ((gpus == 0)); then return; fi
    if [[ -r /sys/module/nvidia/version ]]; then
        IFS= read -r driver_version </sys/module/nvidia/version || :
    elif type -P nvidia-smi >/dev/null; then
        driver::_query &
        driver_look=$! driver_asked=yes
    fi
}

# Drivers before 510 do not know compute_cap, and answer nothing then.
driver::_query() {
    local file=nvidia-smi-query.csv fields=index,uuid,name,memory.total,driver_version,pci.bus_id
    gpu::keep "$file" --format=csv,nounits "--query-gpu=$fields,compute_cap"
    if [[ -s $facts/$file.error && $(<"$facts/$file.error") == *'"compute_cap" is not a valid field'* ]]; then
        gpu::keep "$file" --format=csv,nounits "--query-gpu=$fields"
    fi
}

# The version in the first row that has one.
driver::_read() {
    local version
    while IFS=, read -r _ _ _ _ version _; do
        if [[ ${version// /} =~ ^[0-9]+(\.[0-9]+)+$ ]]; then
            driver_version=${version// /}
            return
        fi
    done
}

# The plan names the oldest driver that can run the image's CUDA (minimum_driver; empty: it says none). The hook would
# refuse an older one too, in its own words and as if the engine had failed.
driver::check() {
    if [[ -n $driver_look ]]; then
        node::_wait "$driver_look" node::_is_stopped
        driver_look='' driver_version=''
        if [[ -r $facts/nvidia-smi-query.csv ]]; then driver::_read <"$facts/nvidia-smi-query.csv"; fi
    fi
    if [[ ! $driver_version =~ ^[0-9]+(\.[0-9]+)+$ ]]; then driver_version=''; fi
    if [[ -n $minimum_driver && -n $driver_version ]] && driver::_is_older "$driver_version" "$minimum_driver"; then
        task::refuse driver "too old: driver $driver_version is older than $minimum_driver, the oldest that the image ($minimum_driver_for) admits" \
            "use an image with an older CUDA, or a node with a newer driver; if you answer for the driver: env: {NVIDIA_DISABLE_REQUIRE: \"1\"}"
    fi
}

# Did the hook stop the container because of NVIDIA_REQUIRE_CUDA, of which the plan's oldest driver is only one bound?
driver::_is_refused() { [[ ${state_error-} == *'unsatisfied condition'* ]]; }

# Part by part, as numbers; absent parts are 0.
driver::_is_older() {
    local -i at
    local -a have want
    IFS=. read -r -a have <<<"$1"
    IFS=. read -r -a want <<<"$2"
    for ((at = 0; at < ${#want[@]}; at++)); do
        if ((10#${have[at]:-0} != 10#${want[at]})); then return $((10#${have[at]:-0} > 10#${want[at]})); fi
    done
    return 1
}
