"""Every option of the server, once: name, type, default and help. The command line and the library read this one table.

Names, forms and defaults are tritonserver's own where it has the option; those marked `ours` it does not have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from atoll.errors import InvalidArgumentError

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `kind`: bool, int, float, str, or list (repeatable strings). `choices` empty: anything of that kind.

    `no_effect`: why it changes nothing here, for one that is only accepted, so that command lines can be pasted.
    `or_boolean`: true and false are numbers, too, 1 and 0.
    """

    name: str
    kind: type
    default: Any
    help: str
    section: str
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    source: str = ""
    no_effect: str = ""
    or_boolean: bool = False

    @property
    def field(self) -> str:
        """The option's name as a Python identifier."""
        return self.name.replace("-", "_")


MAX_PORT = 65535

# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("id", str, "atoll", "The name that the server gives for itself in its metadata.", "Server"),
    Option("exit-timeout-secs", int, 30, "Seconds that requests in flight get to finish when the server stops.", "Server", minimum=0),
    Option("shutdown-delay-secs", int, 0, "Seconds after SIGTERM in which the server says that it is not ready, but serves on, so that load balancers notice.", "Server", minimum=0, source=OURS),
    Option("strict-readiness", bool, True, "Ready only when every model is; if false, as soon as the server answers.", "Server"),
    Option("drive-on-submit", bool, True, "Let the thread that submits a request run it where executions are short, instead of handing it to the instance's thread.", "Server", source=OURS),
    Option("max-inflight-requests", int, 0, "Requests of clients that may be queued or executing at once; what comes beyond is refused with the time after which to ask again. 0 is no limit.", "Server", minimum=0, source=OURS),
    Option("malloc-keep-bytes", int, 256 << 20, "Freed memory below this many bytes stays with the process (glibc), so that large tensors cost no page faults; 0 leaves the C library's setting.", "Server", minimum=0, source=OURS),
    Option("model-repository", list, (), "Path of a model repository; may be given several times. A model file or SavedModel folder alone is a repository of one model.", "Models", aliases=("model-store",)),
    Option("exit-on-error", bool, True, "Do not start when a model cannot be loaded. If false, the other models are served.", "Models"),
    Option("disable-auto-complete-config", bool, False, "Take the configurations as they are written, and fill in nothing from the model files.", "Models"),
    Option("strict-model-config", bool, None, "Deprecated: --disable-auto-complete-config.", "Models"),
    Option("model-load-thread-count", int, 4, "How many models are loaded at the same time.", "Models", minimum=1),
    Option("model-load-retry-count", int, 0, "How often a model that fails to load is tried again.", "Models", minimum=0),
    Option("model-control-mode", str, "none", "none: load all models at start and change nothing. poll: follow changes of the repositories. explicit: load what --load-model names, and what clients ask for.", "Models", choices=("none", "poll", "explicit")),
    Option("repository-poll-secs", int, 15, "Seconds between two looks at the repositories with --model-control-mode=poll.", "Models", minimum=0),
    Option("repository-settle-secs", float, 2.0, "Seconds for which a changed model's files must stay the same before polling loads it.", "Models", minimum=0, source=OURS),
    Option("load-model", list, (), "A model to load at start with --model-control-mode=explicit; may be given several times. '*' alone is all of them.", "Models"),
    Option("model-config-name", str, "", "Take each model's configuration from configs/NAME.pbtxt where it has that file.", "Models"),
    Option("repoagent-directory", str, "", "Accepted: tritonserver's repository agents are shared libraries from there, Atoll's are installed packages.", "Models", no_effect="the shared libraries there are not loaded. Agents come as installed packages; the checksum agent is built in"),
    Option("model-namespacing", bool, False, "Serve models of one name from several repositories, each in the namespace of its repository.", "Models"),
    Option("model-memory-budget", str, "", "Memory that models may take: bytes, a number with KiB, MiB or GiB, or a percentage of the machine's. Models are then loaded when first asked for, and the least recently used idle ones make room.", "Models", source=OURS),
    Option("config", str, "", "File of server-wide settings: model_config_list, backend_config, model_config. What the command line says wins.", "Models", source=OURS),
    Option("follow-external-symlinks", bool, False, "Follow symbolic links that lead out of a model repository.", "Models", source=OURS),
    Option("repository-cache-directory", str, "", "Where models of object stores are kept on disk; a folder of the user's cache if not given.", "Models", source=OURS),
    Option("pinned-memory-pool-byte-size", int, None, "Bytes of the reusable host memory in which batches are put together; 268435456 if neither this nor the configuration file says.", "Models", minimum=0),
    Option("memory-pool-alignment", int, None, "Bytes to which each piece of that memory is aligned, a power of two; 64 if neither this nor the configuration file says.", "Models", minimum=1, source=OURS),
    Option("backend-directory", str, "", "Directory of python-based backends: NAME/model.py in it runs the models whose configuration names that backend.", "Models"),
    Option("backend-config", list, (), "A setting of a backend, as NAME,KEY=VALUE; may be given several times.", "Models"),
    Option("cache-config", list, (), "A setting of the response cache, as NAME,KEY=VALUE; may be given several times. NAME is local (size), redis (host, port, ...) or an installed package's; KEY ttl, the seconds for which answers are kept, is for all.", "Response cache"),
    Option("cache-directory", str, "", "Accepted: tritonserver's caches are shared libraries from there, Atoll's are installed packages.", "Response cache", no_effect="the shared libraries there are not loaded. Caches come as installed packages; local and redis are built in"),
    Option("response-cache-byte-size", int, None, "Deprecated: --cache-config local,size=BYTES.", "Response cache", minimum=0),
    Option("min-supported-compute-capability", float, None, "Use only GPUs with at least this CUDA compute capability; needs the package nvidia-ml-py. Without it, all that are there.", "GPUs", minimum=0),
    Option("model-load-gpu-limit", list, (), "How much of a GPU's memory may be in use when an instance is made there, as DEVICE:FRACTION; needs the package nvidia-ml-py. May be given several times.", "GPUs"),
    Option("cuda-memory-pool-byte-size", list, (), "Accepted: bytes of a pool of device memory, as DEVICE:BYTES.", "GPUs", no_effect="device memory is allocated by the models' own runtimes, and there is no pool beside them"),
    Option("cuda-virtual-address-size", list, (), "Accepted: bytes of reserved device addresses, as DEVICE:BYTES.", "GPUs", no_effect="outputs on a device stay in memory that the models' own runtimes allocate"),
    Option("enable-peer-access", bool, True, "Accepted: whether GPUs may reach each other's memory.", "GPUs", no_effect="tensors go from one model to another in the host's memory"),
    Option("buffer-manager-thread-count", int, 0, "Accepted: threads that copy tensors.", "Models", minimum=0, no_effect="each instance's thread joins and splits its own batches, and large copies release Python's lock"),
    Option("rate-limit", str, "off", "execution_count: instances execute when they have the resources that their rate_limiter names, in turns by their priorities. off: as soon as they are free.", "Rate limiter", choices=("execution_count", "off")),
    Option("rate-limit-resource", list, (), "How much there is of a resource, as NAME:COUNT, or NAME:COUNT:DEVICE for one device; may be given several times. Without any, each resource is as large as the instance needs that needs most of it.", "Rate limiter"),
    Option("host-policy", list, (), "The cores or the NUMA node to which the instances with a host policy keep, as NAME,cpu-cores=0-3 or NAME,numa-node=0; may be given several times. cpu, model and gpu_N are the policies of instances whose group names none.", "Models"),
    Option("log-verbose", int, 0, "Log details: 0 is off, 1 and higher on, the higher the more.", "Logging", minimum=0, or_boolean=True),
    Option("log-info", bool, True, "Log what happens.", "Logging"),
    Option("log-warning", bool, True, "Log warnings.", "Logging"),
    Option("log-error", bool, True, "Log errors.", "Logging"),
    Option("log-format", str, "default", "How a line of the log begins. default: severity, date and time to the microsecond. ISO8601: date and time as 2026-01-31T12:00:00Z, then the severity. json: each line is a JSON object.", "Logging", choices=("default", "ISO8601", "json")),
    Option("log-file", str, "", "File to which the log is appended, instead of standard error. It is opened anew on SIGHUP, and when it was renamed.", "Logging"),
    Option("access-log", str, "", "Where to write a JSON line for each request that is answered: a file, or 'stdout' or 'stderr'. A file is opened anew on SIGHUP, and when it was renamed.", "Access log", source=OURS),
    Option("allow-client-shm", bool, False, "Let clients register shared memory, of the system and of GPUs, and keep tensors there. Who may do that can read and write what lies in the server's /dev/shm.", "Shared memory"),
    Option("allow-http", bool, True, "Listen for HTTP/REST requests.", "HTTP"),
    Option("http-address", str, "0.0.0.0", "Address on which HTTP listens.", "HTTP"),
    Option("http-port", int, 8000, "Port on which HTTP listens; 0 lets the system choose.", "HTTP", minimum=0, maximum=MAX_PORT),
    Option("allow-docs", bool, True, "Answer /openapi.json, which describes the HTTP endpoints, and /docs, a page to try them.", "HTTP", source=OURS),
    Option("allow-dashboard", bool, True, "Answer /dashboard, a page that shows how the models are doing, and may load and unload them.", "HTTP", source=OURS),
    Option("reuse-http-port", bool, False, "Let other processes listen on the HTTP port too.", "HTTP"),
    Option("http-thread-count", int, 0, "Event loops for HTTP, with a thread each, among which connections are dealt out; 0 is the one loop that all share.", "HTTP", minimum=0, maximum=256),
    Option("http-use-ssl", bool, False, "Encrypt HTTP with TLS.", "HTTP", source=OURS),
    Option("http-use-ssl-mutual", bool, False, "Encrypt HTTP with TLS and demand a client certificate.", "HTTP", source=OURS),
    Option("http-server-cert", str, "", "File of the server's certificate chain, PEM; read again when it changes.", "HTTP", source=OURS),
    Option("http-server-key", str, "", "File of the server's private key, PEM; read again when it changes.", "HTTP", source=OURS),
    Option("http-root-cert", str, "", "File of the certificates that sign clients' certificates, PEM.", "HTTP", source=OURS),
    Option("http-max-connections", int, 16384, "Connections that HTTP serves at once; who comes beyond is told to come again.", "HTTP", minimum=1, source=OURS),
    Option("http-header-timeout-secs", float, 30.0, "Seconds from a request's first byte to the end of its headers.", "HTTP", minimum=1, source=OURS),
    Option("http-body-timeout-secs", float, 60.0, "Seconds from one piece of a request's body to the next.", "HTTP", minimum=1, source=OURS),
    Option("http-idle-timeout-secs", float, 300.0, "Seconds after which a connection without a request is closed.", "HTTP", minimum=1, source=OURS),
    Option("unix-socket-mode", str, "660", "Permissions of the files of Unix sockets, octal.", "HTTP", source=OURS),
    Option("http-max-input-size", int, 64 << 20, "Bytes of the largest request body that HTTP takes, before and after decompression.", "HTTP", minimum=1),
    Option("http-restricted-api", list, (), "APIs that HTTP answers only to who sends a header with an agreed value, as API,...:HEADER=VALUE; may be given several times. APIs are health, metadata, inference, shared-memory, model-config, model-repository, statistics, trace, logging.", "HTTP"),
    Option("http-header-forward-pattern", str, "", "Regular expression: the HTTP headers in whose names it is found, whatever their case, become parameters of the inference request.", "HTTP"),
    Option("allow-grpc", bool, True, "Listen for gRPC requests.", "gRPC"),
    Option("grpc-address", str, "0.0.0.0", "Address on which gRPC listens.", "gRPC"),
    Option("grpc-port", int, 8001, "Port on which gRPC listens; 0 lets the system choose.", "gRPC", minimum=0, maximum=MAX_PORT),
    Option("reuse-grpc-port", bool, False, "Let other processes listen on the gRPC port too.", "gRPC"),
    Option("grpc-infer-thread-count", int, 0, "Event loops for gRPC, with a thread each, among which connections are dealt out; 0 is the one loop that all share. Of the nghttp2 transport.", "gRPC", minimum=0, maximum=256),
    Option("grpc-infer-allocation-pool-size", int, 8, "Accepted: objects of requests and responses that are kept for reuse.", "gRPC", minimum=0, no_effect="nothing is kept between requests that would be costly to make anew"),
    Option("grpc-max-response-pool-size", int, 2**31 - 1, "Accepted: responses of one request that may wait to be sent.", "gRPC", minimum=1, no_effect="what a stream's client has not read yet is bounded in bytes, to 256 MiB a stream"),
    Option("grpc-max-message-size", int, 2**31 - 1, "Bytes of the largest message that gRPC takes, before and after decompression.", "gRPC", minimum=1, maximum=2**31 - 1, source=OURS),
    Option("grpc-max-connections", int, 16384, "Connections that gRPC serves at once; who comes beyond is disconnected. Of the nghttp2 transport.", "gRPC", minimum=1, source=OURS),
    Option("grpc-transport", str, "auto", "What carries gRPC: nghttp2 (ours, compiled), grpcio, or auto for the first that is there.", "gRPC", choices=("auto", "nghttp2", "grpcio"), source=OURS),
    Option("grpc-use-ssl", bool, False, "Encrypt gRPC with TLS.", "gRPC"),
    Option("grpc-use-ssl-mutual", bool, False, "Encrypt gRPC with TLS and demand a client certificate.", "gRPC"),
    Option("grpc-server-cert", str, "", "File of the server's certificate chain, PEM; read again when it changes.", "gRPC"),
    Option("grpc-server-key", str, "", "File of the server's private key, PEM; read again when it changes.", "gRPC"),
    Option("grpc-root-cert", str, "", "File of the certificates that sign clients' certificates, PEM.", "gRPC"),
    Option("grpc-infer-response-compression-level", str, "none", "How hard gRPC answers are compressed.", "gRPC", choices=("none", "low", "medium", "high")),
    Option("grpc-keepalive-time", int, 7_200_000, "Milliseconds of silence after which a connection is pinged.", "gRPC", minimum=1),
    Option("grpc-keepalive-timeout", int, 20_000, "Milliseconds in which a ping must be answered.", "gRPC", minimum=1),
    Option("grpc-keepalive-permit-without-calls", bool, False, "Ping connections without calls too.", "gRPC"),
    Option("grpc-http2-max-pings-without-data", int, 2, "Pings sent with no data between them; 0 is no limit.", "gRPC", minimum=0),
    Option("grpc-http2-min-recv-ping-interval-without-data", int, 300_000, "Milliseconds that a client without calls must leave between its pings.", "gRPC", minimum=0),
    Option("grpc-http2-max-ping-strikes", int, 2, "Pings too many after which a client is disconnected; 0 is no limit.", "gRPC", minimum=0),
    Option("grpc-max-connection-age", int, 0, "Milliseconds after which a connection is asked to go; 0 is never.", "gRPC", minimum=0),
    Option("grpc-max-connection-age-grace", int, 0, "Milliseconds that such a connection's calls still get; 0 is no limit.", "gRPC", minimum=0),
    Option("grpc-restricted-protocol", list, (), "APIs that gRPC answers only to who sends an agreed value, as API,...:NAME=VALUE, in the metadata triton-grpc-protocol-NAME; may be given several times. APIs as in --http-restricted-api.", "gRPC"),
    Option("api-key-file", str, "", "File of the API keys that requests must come with, over HTTP and gRPC; `atoll key` makes one. It is read again when it changes.", "Access", source=OURS),
    Option("api-key-exempt", str, "health,documentation", "APIs that are answered without an API key, with commas between them; empty for none.", "Access", source=OURS),
    Option("cors-allow-origin", list, (), "An origin whose web pages may use the server over HTTP, such as https://example.com, or * for all; may be given several times.", "Access", source=OURS),
    Option("cors-allow-headers", str, "", "Headers that such pages may send, with commas between them; those that the server reads if not given.", "Access", source=OURS),
    Option("cors-allow-methods", str, "GET,POST", "Methods that such pages may use, with commas between them.", "Access", source=OURS),
    Option("cors-max-age", int, 600, "Seconds for which a browser may remember what it was told of these.", "Access", minimum=0, source=OURS),
    Option("allow-sagemaker", bool, False, "Listen for Amazon SageMaker's requests.", "SageMaker"),
    Option("sagemaker-port", int, 8080, "Port on which SageMaker's requests are heard, at the address of HTTP; 0 lets the system choose.", "SageMaker", minimum=0, maximum=MAX_PORT),
    Option("sagemaker-safe-port-range", str, "", "Ports among which those of HTTP, gRPC and metrics must be, as FIRST-LAST.", "SageMaker"),
    Option("sagemaker-thread-count", int, 0, "Event loops for SageMaker, with a thread each; 0 is the one loop that all share.", "SageMaker", minimum=0, maximum=256),
    Option("allow-vertex-ai", bool, False, "Listen for Vertex AI's requests; where AIP_MODE is PREDICTION that is the default, and HTTP and gRPC are off unless asked for.", "Vertex AI"),
    Option("vertex-ai-port", int, 8080, "Port on which Vertex AI's requests are heard, at the address of HTTP; the default is AIP_HTTP_PORT where that is set. 0 lets the system choose.", "Vertex AI", minimum=0, maximum=MAX_PORT),
    Option("vertex-ai-thread-count", int, 0, "Event loops for Vertex AI, with a thread each; 0 is the one loop that all share.", "Vertex AI", minimum=0, maximum=256),
    Option("vertex-ai-default-model", str, "", "The model of requests that name none; not needed where only one is loaded.", "Vertex AI"),
    Option("grpc-header-forward-pattern", str, "", "Regular expression: the metadata of gRPC calls in whose names it is found, whatever their case, become parameters of the inference request.", "gRPC"),
    Option("trace-config", list, (), "A setting of the traces, as KEY=VALUE (level=OFF, TIMESTAMPS or TENSORS; rate; count; mode=triton or opentelemetry), triton,KEY=VALUE (file; log-frequency) or opentelemetry,KEY=VALUE (url; resource=NAME=VALUE; bsp_max_queue_size; bsp_schedule_delay; bsp_max_export_batch_size); may be given several times.", "Traces"),
    Option("trace-file", str, "", "Deprecated: --trace-config=triton,file=PATH.", "Traces"),
    Option("trace-level", list, (), "Deprecated: --trace-config=level=LEVEL.", "Traces"),
    Option("trace-rate", int, None, "Deprecated: --trace-config=rate=COUNT.", "Traces", minimum=0),
    Option("trace-count", int, None, "Deprecated: --trace-config=count=COUNT.", "Traces", minimum=-1),
    Option("trace-log-frequency", int, None, "Deprecated: --trace-config=triton,log-frequency=COUNT.", "Traces", minimum=0),
    Option("allow-metrics", bool, True, "Listen for Prometheus.", "Metrics"),
    Option("allow-gpu-metrics", bool, True, "Report GPUs: their use, memory, power and energy.", "Metrics"),
    Option("metrics-config", list, (), "A setting of the metrics, as KEY=VALUE; may be given several times. counter_latencies=false leaves out the counters of durations, summary_latencies=true adds quantiles of the last minute, summary_quantiles=0.5:0.05,... says which, histogram_latencies=true adds the histogram of first responses.", "Metrics"),
    Option("allow-cpu-metrics", bool, True, "Report the machine's CPU and memory.", "Metrics"),
    Option("metrics-address", str, "", "Address on which metrics listen; that of HTTP if not given.", "Metrics"),
    Option("metrics-port", int, 8002, "Port on which metrics listen; 0 lets the system choose.", "Metrics", minimum=0, maximum=MAX_PORT),
    Option("metrics-use-ssl", bool, False, "Encrypt the metrics with TLS, with the files of HTTP's options, and demand a client certificate where HTTP does.", "Metrics", source=OURS),
    Option("metrics-interval-ms", float, 2000.0, "Milliseconds between two measurements of the machine's CPU and GPUs.", "Metrics", minimum=1),
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the library itself needs to know; the rest of the table concerns frontends and the process.

    Raises InvalidArgumentError for a value that would be taken for another: a text where true or false is meant, or
    several texts, and a word that is none of the option's.
    """

    id: str = "atoll"
    model_repository: tuple[str, ...] = ()
    exit_on_error: bool = True
    exit_timeout_secs: int = 30
    strict_readiness: bool = True
    disable_auto_complete_config: bool = False
    model_load_thread_count: int = 4
    model_load_retry_count: int = 0
    model_control_mode: str = "none"
    repository_poll_secs: float = 15
    repository_settle_secs: float = 2.0
    load_model: Sequence[str] = ()
    model_config_name: str = ""
    model_namespacing: bool = False
    model_memory_budget: str = ""
    config: str = ""
    follow_external_symlinks: bool = False
    repository_cache_directory: str = ""
    pinned_memory_pool_byte_size: int | None = None
    memory_pool_alignment: int | None = None
    backend_directory: str = ""
    backend_config: Sequence[str] = ()
    cache_config: Sequence[str] = ()
    response_cache_byte_size: int | None = None
    drive_on_submit: bool = True
    max_inflight_requests: int = 0
    rate_limit: str = "off"
    rate_limit_resource: Sequence[str] = ()
    host_policy: Sequence[str] = ()
    min_supported_compute_capability: float | None = None
    model_load_gpu_limit: Sequence[str] = ()
    trace_config: Sequence[str] = ()
    metrics_config: Sequence[str] = ()

    def __post_init__(self) -> None:
        for one in OPTIONS:
            value = getattr(self, one.field, one.default)
            if one.kind is bool and not isinstance(value, (bool, int, type(one.default))):
                raise InvalidArgumentError(f"{one.field} is {value!r} but must be True or False")
            if one.kind is list and isinstance(value, (str, bytes)):
                raise InvalidArgumentError(f"{one.field} is {value!r} but must be a list of texts: [{value!r}]")
            if one.choices and value not in one.choices:
                raise InvalidArgumentError(f"{one.field} is {value!r} but must be one of {', '.join(one.choices)}")


def library_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a set of option values, by field name, that a Server takes beside its repositories."""
    return {one.name: values[one.name] for one in fields(ServerOptions) if one.name != "model_repository"}
