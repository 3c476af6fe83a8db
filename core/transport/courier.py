"""Celery as courier and nothing else.

No result backend, no retries, no ETA, no revoke, no time limits: each of them loses or doubles work
with the Redis transport (docs/log.md has the trials). The ledger does all that in SQL.
"""

from celery import Celery

from core.jobs.outbox import Hint
from core.settings import Settings
from core.transport import kombu_redis
from core.transport.names import PRIORITIES, TASK_NAME, queue_of


def make_celery(settings: Settings) -> Celery:
    """The Celery app of one process, with the transport settings that were found to work."""
    kombu_redis.install()
    app = Celery("perroquet", broker=settings.redis.url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        task_store_errors_even_if_ignored=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 600,
            "global_keyprefix": f"{settings.redis.key_prefix}:",
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "queue_order_strategy": "priority",
            "priority_steps": list(PRIORITIES),
        },
    )
    return app


def make_publishing_celery(settings: Settings) -> Celery:
    """The same, for publishing: sockets give up after two seconds, and nothing is tried twice.

    Kombu waits 2 s and then 4 s more for a broker that refuses connections unless it is told not to
    (6.0 s for each hint, against 5 ms so); the relay is who tries again.
    """
    app = make_celery(settings)
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "max_retries": 0,
        "interval_start": 0,
        "interval_step": 0,
    }
    return app


def send_hint(app: Celery, hint: Hint) -> None:
    """Put a hint into its queue. Blocks up to the socket timeout.

    The message is Celery's own, published as Celery would; ``send_task`` does the same and spends
    as much again on declaring the queue and on describing its arguments to monitors.

    Raises:
        kombu.exceptions.OperationalError: the broker cannot be reached.
    """
    message = app.amqp.as_task_v2(
        hint.job_id,
        TASK_NAME,
        kwargs={"job_id": hint.job_id},
        argsrepr="()",
        kwargsrepr="{}",
        ignore_result=True,
    )
    with app.producer_or_acquire() as producer:
        # The nameless exchange leads to the queue of the routing key's name.
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue_of(hint.kind),
            priority=hint.priority,
            headers=message.headers,
            serializer="json",
            **message.properties,
        )
