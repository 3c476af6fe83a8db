"""Every figure that Perroquet exposes, by Prometheus' naming rules: base units, counters end in
``_total``.

A module for each part, and whoever imports it exposes its figures: a process shows none that it can
never move. Dashboards and alert rules agree with all of them together. No label holds a text, or
the name or id of a guild or member, since there would be a series for each; a model's label is its
place in the store, and is there for as long as the model is loaded.
"""

from prometheus_client import disable_created_metrics

# When each series began is of no use here, and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client's
