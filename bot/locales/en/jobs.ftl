### /jobs and /status.

command-jobs-name = jobs
command-jobs = What I was asked to do here, and what became of it
command-jobs-list-name = list
command-jobs-list = Leaf through the jobs of this server
command-jobs-show-name = show
command-jobs-show = Everything about one job
command-jobs-watch-name = watch
command-jobs-watch = Show a job and keep the message current
command-jobs-cancel-name = cancel
command-jobs-cancel = Cancel a job that waits or runs
command-jobs-retry-name = retry
command-jobs-retry = Do again what failed or was cancelled
command-status-name = status
command-status = Who works, what waits, and what went wrong last
option-jobs-job-name = job
option-jobs-job = The job; type to search
option-jobs-state-name = state
option-jobs-state = Only jobs in this state
option-jobs-kind-name = kind
option-jobs-kind = Only jobs of this kind
option-jobs-member-name = member
option-jobs-member = Only what this member asked for
option-jobs-model-name = model
option-jobs-model = Only what this model answered or learnt
option-jobs-since-name = since
option-jobs-since = 30m, 24h, 7d, or a day such as 2026-11-23
option-jobs-scope-name = scope
option-jobs-scope = All servers; for the owner of the application only
jobs-scope-all = all servers

job-kind-generate = answer
job-kind-finetune = fine-tune
job-kind-validate = reading of a corpus
job-state-validating = being read
job-state-queued = waiting
job-state-running = running
job-state-succeeded = done
job-state-failed = failed
job-state-cancelled = cancelled
job-state-stopping = stopping
job-state-paused = paused

jobs-title = 🦜 Jobs
jobs-none = There are no such jobs.
jobs-none-here = There are none among these; “Older” searches on.
jobs-page = Page { $number }
jobs-newer = Newer
jobs-older = Older
jobs-cancel-cancelled = The job is cancelled.
jobs-cancel-running = I asked its worker to stop; that takes a few seconds.
jobs-cancel-ended = The job had ended before; nothing was changed.
jobs-retried = I try again, as job `{ $job }`.
jobs-retried-already = That is tried again already, as job `{ $job }`.

job-field-state = State
job-field-model = Model
job-field-member = Asked by
job-field-place = In the queue
job-field-start = Expected start
job-field-duration = Took
job-field-progress = Progress
job-field-attempts = Attempts
job-field-worker = Worker
job-field-error = What went wrong
job-start-now = at any moment
job-start-in = in about { $time }
job-place = { $position } of { $length }
job-attempts =
    { $crashes ->
        [0] { $attempts }
        [one] { $attempts }, its worker was lost once
       *[other] { $attempts }, its worker was lost { $crashes } times
    }
job-time-left = about { $time } left
job-timeline-hidden =
    { $count ->
        [one] … and one thing before
       *[other] … and { $count } things before
    }
job-watch-on = Kept current for up to 14 minutes
job-watch-over = Not kept current any more

job-figure-attempt = attempt { $value }
job-figure-step = step { $value }
job-figure-steps = { $value } steps
job-figure-loss = loss { $value }
job-figure-crashes = lost workers: { $value }
job-event-submitted = asked for
job-event-claimed = taken by a worker
job-event-released = given back by its worker
job-event-lease-expired = its worker fell silent
job-event-cancel-requested = its end was asked for
job-event-pause-requested = a pause was asked for
job-event-stop-requested = an early end was asked for
job-event-resumed = resumed
job-event-started = training began
job-event-evaluated = judged
job-event-checkpointed = a checkpoint was kept
job-event-shrunk = memory ran short; smaller batches
job-event-retried = tried again as
job-event-retry-of = a new try of
job-event-succeeded = done
job-event-failed = failed
job-event-cancelled = cancelled

status-well = 🦜 Somebody works
status-unwell = 🦜 Nobody answers at the moment
status-workers = Processes
status-model = Answers here
status-queues = Jobs of this server
status-last-error = Last error
status-no-error = none that I remember
status-nobody = nobody
status-more =
    { $count ->
        [one] … and one more
       *[other] … and { $count } more
    }
status-speed = { $speed } tokens/s
status-jobs =
    { $count ->
        [0] idle
        [one] one job
       *[other] { $count } jobs
    }
status-memory = { $used } of { $total } GiB
status-queue = { $kind }: { $queued } waiting, { $running } running
status-wait = the longest for { $time }
status-kind-generate = Generation
status-kind-finetune = Fine-tuning
status-kind-upkeep = Upkeep
status-kind-bot = Bot

error-since = I cannot read that time. Write 30m, 24h, 7d or a day such as 2026-11-23.
error-too-many-watches = So many jobs are watched at the moment that I cannot take one more. Use `/jobs show`, or try again in a few minutes.
error-not-retryable = That cannot be tried again: only what failed or was cancelled can, and only while its corpus and base model are still there. Otherwise upload it anew.
error-already-retried = That is tried again already.
