"""Ask clusters what became of jobs, and update the tracker."""
