### /jobs and /status.

command-jobs-name = jobs
command-jobs = What I was asked to do here, and what became of it
command-jobs-list-name = list
command-jobs-list = Browse the jobs of this server
command-jobs-show-name = show
command-jobs-show = Everything about one job
command-jobs-watch-name = watch
command-jobs-watch = Show a job and keep the message up to date
command-jobs-cancel-name = cancel
command-jobs-cancel = Cancel a job that is waiting or running
command-jobs-retry-name = retry
command-jobs-retry = Retry a job that failed or was cancelled
command-status-name = status
command-status = Who is at work, what is waiting, and the last error
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
jobs-none = No jobs found.
jobs-none-here = None found so far; “Older” searches further back.
jobs-page = Page { $number }
jobs-newer = Newer
jobs-older = Older
jobs-cancel-cancelled = The job is cancelled.
jobs-cancel-running = I asked its worker to stop; that takes a few seconds.
jobs-cancel-ended = The job had already ended; nothing was changed.
jobs-retried = I am trying again, as job `{ $job }`.
jobs-retried-already = I am already trying that again, as job `{ $job }`.

job-field-state = State
job-field-model = Model
job-field-member = Requested by
job-field-server = Server
job-field-place = In the queue
job-field-start = Expected start
job-field-duration = Took
job-field-progress = Progress
job-field-attempts = Attempts
job-field-worker = Worker
job-field-error = What went wrong
job-field-answer = Answer
job-field-finish = Ended
job-answer =
    { $tokens ->
        [one] one token in { $seconds } s ({ $speed } tokens/s)
       *[other] { $tokens } tokens in { $seconds } s ({ $speed } tokens/s)
    }
job-finish-stop = by itself
job-finish-length = at the longest length
job-finish-deadline = at the longest time
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
        [one] … and one event before
       *[other] … and { $count } events before
    }
job-watch-on = Kept up to date for up to 14 minutes
job-watch-over = No longer kept up to date

job-figure-attempt = attempt { $value }
job-figure-step = step { $value }
job-figure-steps = { $value } steps
job-figure-loss = loss { $value }
job-figure-crashes = lost workers: { $value }
job-event-submitted = requested
job-event-claimed = taken by a worker
job-event-released = given back by its worker
job-event-lease-expired = its worker fell silent
job-event-cancel-requested = cancellation requested
job-event-pause-requested = pause requested
job-event-stop-requested = early stop requested
job-event-resumed = resumed
job-event-started = training began
job-event-evaluated = evaluated
job-event-checkpointed = checkpoint saved
job-event-shrunk = memory ran short; smaller batches
job-event-retried = retried as
job-event-retry-of = retry of
job-event-succeeded = done
job-event-failed = failed
job-event-cancelled = cancelled

status-well = 🦜 At work
status-unwell = 🦜 Nobody answers at the moment
status-workers = Processes
status-model = Answers here
status-queues = Jobs of this server
status-queues-all = Jobs of all servers
status-last-error = Last error
status-no-error = none on record
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
error-too-many-watches = Too many jobs are being watched at the moment for me to take one more. Use `/jobs show`, or try again in a few minutes.
error-not-retryable = Only a job that failed or was cancelled can be retried.
error-nothing-to-retry = What that job needs is no longer kept: its corpus, or the model that it began with. Please upload the files again.
error-already-retried = I am already trying that again.
