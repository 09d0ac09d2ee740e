"""For the whole suite: a skipped test is a failed run, and a unit test starts none of the programs of a cluster.

Only root can give a file away, say: an ordinary user sees those tests skipped, and CI, which is root, runs them.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.typed import Type, typed_in

PROGRAMS = ("ssh", "docker", "podman", "sbatch", "squeue", "sacct", "scontrol", "scancel", "srun")
WITH_THE_BED = ("cluster", "faults", "bench")
# What takes a second or more, because it is about size or time, starts many processes, asks an index of packages or
# reads the text of the whole package, and what needs shellcheck.
SLOW = [
    "test_an_image_without_pip_is_named_before_a_job_waits_for_nothing",
    "test_pip_chooses_what_uv_chooses_for_an_image_of_any_python",
    "test_pip_of_another_python_on_path_chooses_the_same",
    "test_nothing_of_the_current_folder_runs",
    "test_a_bomb_is_left_out_in_bounded_memory",
    "test_a_changed_value_is_never_the_same",
    "test_a_daemon_that_went_away_is_waited_for",
    "test_a_run_may_leave_many_files",
    "test_a_stop_ends_the_keeping",
    "test_a_sweep_pushes_no_job_out_of_view_and_each_row_has_its_date",
    "test_a_tensorflow_in_a_wheel_of_another_name_is_refused",
    "test_a_wheel_that_does_not_fit_the_python_is_named",
    "test_a_wheel_that_is_not_there_is_named",
    "test_a_wheel_that_leads_out_of_the_folder_is_refused",
    "test_neither_variables_nor_settings_steer_pip",
    "test_only_one_place_writes_files",
    "test_only_the_console_prints",
    "test_the_verdict_of_b_and_a_mirrors_that_of_a_and_b",
    "test_two_commands_at_once_make_one_chain",
    "test_what_the_image_lacks_is_locked_with_hashes_by_the_first_command",
    "test_wheels_become_a_folder_that_python_can_import_from",
    "test_a_call_without_an_answer_ends_the_task_with_75_and_says_which",
    "test_a_file_of_any_make_is_read_or_refused_in_bounds",
    "test_a_file_with_holes_arrives_with_holes_and_does_not_load_the_line",
    "test_a_folder_deeper_than_any_code_is_refused",
    "test_a_folder_that_did_not_come_with_the_file_is_named",
    "test_a_list_of_run_folders_takes_little_more_memory_than_it_says",
    "test_a_sweep_has_one_layer_for_all_its_points",
    "test_an_index_with_a_login_is_asked_with_it_and_the_login_is_written_nowhere",
    "test_other_packages_of_the_command_line_are_to_be_written_into_the_file",
    "test_requirements_that_nothing_satisfies_end_in_one_error",
    "test_a_lock_that_fits_is_used_and_one_of_other_requirements_or_another_image_is_refused",
    "test_a_look_back_that_is_killed_before_any_step_loses_nothing_either",
    "test_a_nvidia_smi_that_hangs_takes_no_time_of_the_other_steps",
    "test_packages_are_chosen_and_fetched_through_the_proxy",
    "test_an_index_behind_a_proxy_that_does_not_lead_there_is_one_error_without_the_login",
    "test_a_page_without_end_ends_in_one_error_before_memory_does",
    "test_a_point_that_left_megabytes_hides_no_other_one",
    "test_a_requirements_file_is_read_as_pip_reads_it_and_its_hashes_hold",
    "test_a_table_of_names_that_differ_from_point_to_point_stays_small",
    "test_a_template_without_end_is_refused_in_time",
    "test_a_thousand_records_of_a_sweep_are_chained_at_once",
    "test_a_wheel_that_the_index_has_changed_is_refused_when_it_is_needed_again",
    "test_an_engine_that_does_not_stop_the_container_does_not_keep_the_job",
    "test_an_installed_wheel_finds_its_templates_without_the_checkout",
    "test_an_object_larger_than_any_commit_is_not_read",
    "test_another_numpy_than_the_images_comes_only_where_the_requirement_itself_says_so",
    "test_any_text_is_read_or_refused_and_both_loaders_read_the_same",
    "test_batches_of_any_size_leave_no_file_out",
    "test_ctrl_c_at_any_early_moment_shows_no_traceback",
    "test_every_key_of_the_file_is_in_the_review",
    "test_every_step_runs_and_one_that_fails_keeps_no_other",
    "test_everything_else_is_a_value_error",
    "test_files_that_are_written_meanwhile_do_not_disturb",
    "test_good_rows_without_end_are_more_than_anybody_has",
    "test_hundreds_of_jobs_are_three_commands_and_the_finished_ones_none_afterwards",
    "test_it_is_refused_in_time_and_in_few_lines",
    "test_jobs_sweeps_clusters_keys_and_states_are_completed",
    "test_jq_gives_the_hash_of_three_hundred_random_records",
    "test_killed_before_any_step_the_same_command_then_leaves_one_job",
    "test_many_rows_of_one_partition_or_node_are_read_in_time_that_grows_with_them",
    "test_megabytes_of_nothing_are_refused_soon_and_in_little_memory",
    "test_more_tasks_than_an_answer_can_have_is_no_answer",
    "test_near_sigkill_outputs_that_take_too_long_do_not_keep_a_job_from_going_on",
    "test_no_random_edit_of_a_chain_passes_as_unchanged",
    "test_no_random_edit_of_a_crate_passes_as_unchanged",
    "test_no_random_edit_of_a_record_passes_as_unchanged",
    "test_no_random_edit_of_a_signature_passes",
    "test_nothing_that_acts_or_hides_is_left_of_any_text",
    "test_of_several_jobs_at_once_one_reads",
    "test_pip_chooses_where_there_is_no_uv_whatever_python_the_image_has",
    "test_pip_refuses_in_one_error_too",
    "test_plan_hides_nothing_that_matters",
    "test_results_count_for_no_size",
    "test_review_shows_all_that_the_file_could_touch",
    "test_roc_validator_refuses_the_broken_crates_that_verify_leaves_to_it",
    "test_shellcheck_has_no_complaint_about_the_node_side",
    "test_the_chinese_statement_is_typeset_within_its_columns",
    "test_the_node_side_watches_a_program_that_runs_long_enough",
    "test_the_same_as_json",
    "test_the_statement_and_its_entries_are_typeset_within_their_columns",
    "test_the_validator_finds_nothing_wanting_in_any_crate",
    "test_the_wheel_carries_every_module_template_and_example_cluster",
    "test_thousands_of_small_files_need_few_commands",
    "test_two_thousand_small_files_are_one_snapshot",
    "test_values_of_any_kind_under_any_key_are_read_or_refused",
    "test_what_arrives_is_the_users_alone_from_its_first_moment",
    "test_what_is_dumped_is_read_back_equal",
    "test_what_is_known_counts_only_whole_and_as_it_was_written",
    "test_what_json_can_say_comes_out_as_it_is",
    "test_what_never_ends_costs_little_memory_and_one_short_line",
    "test_where_others_could_write_nothing_is_kept_and_nothing_believed",
    "test_a_known_tree_is_known_until_an_inode_changes",
    "test_a_program_that_ended_is_not_failed_by_calls_that_it_does_not_need",
    "test_a_script_whose_slurmstepd_is_lost_goes_so_that_its_point_notices",
    "test_an_engine_that_answers_ends_the_job_by_its_program",
]


def pytest_configure() -> None:
    """Let tests of Ctrl-C pass where the tests were started in the background, by a shell that has SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Have Python search the tests themselves, which stay to the end, no more for what is out of reach.

    Else a sixth of the time of `make test-unit` goes into that.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark what `make test-unit` leaves out."""
    for item in items:
        if item.originalname in SLOW:
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were skipped."""
    for report in terminalreporter.stats.get("skipped", []) if os.geteuid() == 0 else ():
        terminalreporter.write_line(f"SKIPPED, which counts as failed: {report.nodeid}", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail root's run when a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.geteuid() == 0
        and reporter is not None
        and reporter.stats.get("skipped")
        and exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def real_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that do nothing but note, in `started` there, that they were started.

    `ssh -G`, which reads files and reaches nobody, is answered as by an ssh that is too old for it.
    """
    folder = tmp_path_factory.mktemp("real")
    (folder / "started").touch()
    old = "case \" $* \" in *' -G '*) echo 'unknown option -- G' >&2; exit 255 ;; esac"
    for name in PROGRAMS:
        note = f"printf '%s\\n' \"{name} $*\" >>'{folder}/started'"
        before = f"{old}\n" if name == "ssh" else ""
        (folder / name).write_text(f"#!/bin/sh\n{before}{note}\necho '{name}: not in a unit test' >&2\nexit 127\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """A user's machine with one cluster, whose Slurm is a stand-in."""
    return Laptop.made(tmp_path, monkeypatch)


@pytest.fixture
def typed(laptop: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Commands that are typed there."""
    return typed_in(laptop.folder, {}, monkeypatch, capsys)


@pytest.fixture(autouse=True)
def _only_root_gives_files_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip, for an ordinary user, a test that gives a file to another one."""
    give = os.chown

    def chown(path: str | Path, uid: int, gid: int, **more: Any) -> None:
        try:
            give(path, uid, gid, **more)
        except PermissionError:
            pytest.skip("only root can give a file away")

    if os.geteuid() != 0:
        monkeypatch.setattr(os, "chown", chown)


@pytest.fixture(autouse=True)
def _no_real_program(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, real_programs: Path
) -> Iterator[None]:
    """Fail a unit test that starts a program of a cluster by its name; its fakes come before these on PATH."""
    if request.path.parent.name in WITH_THE_BED:
        yield
        return
    monkeypatch.setenv("PATH", f"{real_programs}:{os.environ['PATH']}")
    yield
    refuse_started(real_programs)


def refuse_started(folder: Path) -> None:
    """Fail the test that started one of these programs."""
    started = (folder / "started").read_text()
    if started:
        (folder / "started").write_text("")
        pytest.fail(f"a unit test started what only a cluster has; use tests/fakes: {started}", pytrace=False)
