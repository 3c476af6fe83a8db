### Errors, by the code of core/errors.py.

error-internal = Something went wrong on my side. Please try again; the operator can find the details in the logs.
error-invalid-input = I cannot use that. Please check what you sent and try again.
error-not-found = There is no such thing here.
error-job-not-found = There is no such job here. `/jobs list` shows which there are.
error-no-model = No model has been published yet. The operator can add one with `perroquet models add`.
error-forgotten = The message was deleted before I could answer it.
error-model-unreadable = The model that answers here cannot be loaded. The operator finds the reason with `perroquet jobs show`.
error-store = The model that answers here is damaged or missing. The operator should run `perroquet models verify`.
error-empty-answer = I have nothing to say to that. Try putting it another way.
error-too-late = That took too long, so I gave up before the first word. Please try again in a moment.
error-job-crashed = I tried several times and lost my worker each time, so I gave up on this message.
error-cancelled = That was cancelled.
error-service-unavailable = Part of me is down. Please try again in a moment.
error-missing-permissions = You may not do that here.
error-owner-only = Only the owner of this application may look at all servers.
error-missing-permission = You may not do that here: you need the permission “{ $permission }”.
permission-manage_channels = Manage Channels
permission-manage_guild = Manage Server
permission-manage_messages = Manage Messages
error-guild-only = That works only in a server.
error-unforeseen = Something went wrong on my side. The operator can find it in the logs as { $reference }.
