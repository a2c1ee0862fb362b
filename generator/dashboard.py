"""CloudWatch's dashboard of a cluster: what people look at first when jobs are slow or fail."""

from typing import Any

from generator import names
from generator.model import Config

Widget = dict[str, Any]

WIDTH, HEIGHT = 12, 6


def body(config: Config) -> dict[str, Any]:
    """Return the dashboard, with two graphs in each row."""
    region, stack = config.cluster.region, config.stack_name
    runtimes = [runtime.name for runtime in config.runtimes.values()]
    queues = {runtime: names.QUEUE.name(stack, runtime) for runtime in runtimes}
    dead = {runtime: names.DEAD_LETTER_QUEUE.name(stack, runtime) for runtime in runtimes}
    api = [["AWS/ApiGateway", metric, "ApiName", stack] for metric in ("Count", "4XXError", "5XXError")]
    functions = [f"{stack}-{purpose}" for purpose in ("api", "reconciler", "webhooks")]
    graphs = [
        _graph("How long has the oldest job waited?", "Maximum", _of_queues("ApproximateAgeOfOldestMessage", queues)),
        _graph("How many jobs wait?", "Maximum", _of_queues("ApproximateNumberOfMessagesVisible", queues)),
        _graph("How many jobs run?", "Maximum", _of_queues("ApproximateNumberOfMessagesNotVisible", queues)),
        _graph("Which jobs were given up?", "Maximum", _of_queues("ApproximateNumberOfMessagesVisible", dead)),
        _graph("Requests, refused and failed", "Sum", api),
        _graph("How long does an answer take?", "p95", [["AWS/ApiGateway", "Latency", "ApiName", stack]]),
        _graph(
            "Failed calls of functions", "Sum", [["AWS/Lambda", "Errors", "FunctionName", name] for name in functions]
        ),
        _graph("How busy are GPUs?", "Average", _of_runtimes(config, "pod_gpu_utilization")),
        _graph("How full is their memory?", "Maximum", _of_runtimes(config, "pod_gpu_memory_utilization")),
        _graph("Which pods start again?", "Sum", _of_runtimes(config, "pod_number_of_container_restarts")),
        _graph(
            "How many nodes are there?",
            "Maximum",
            [["ContainerInsights", "cluster_node_count", "ClusterName", config.cluster_name]],
        ),
    ]
    return {"widgets": [_placed(index, graph, region) for index, graph in enumerate(graphs) if graph["metrics"]]}


def _of_queues(metric: str, queues: dict[str, str]) -> list[list[Any]]:
    return [["AWS/SQS", metric, "QueueName", queue, {"label": runtime}] for runtime, queue in queues.items()]


def _of_runtimes(config: Config, metric: str) -> list[list[Any]]:
    # Container Insights knows pods by the Deployment's name.
    return [
        [
            *("ContainerInsights", metric, "ClusterName", config.cluster_name),
            *("Namespace", runtime.namespace, "PodName", names.DEPLOYMENT.name(config.stack_name, runtime.name)),
            {"label": runtime.name},
        ]
        for runtime in config.runtimes.values()
    ]


def _graph(title: str, statistic: str, metrics: list[list[Any]]) -> Widget:
    return {"title": title, "stat": statistic, "metrics": metrics}


def _placed(index: int, graph: Widget, region: str) -> Widget:
    return {
        "type": "metric",
        "x": index % 2 * WIDTH,
        "y": index // 2 * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": {**graph, "region": region, "period": 60, "view": "timeSeries", "yAxis": {"left": {"min": 0}}},
    }
