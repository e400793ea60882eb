"""The provider's metadata, as plain data.

Every Airflow process loads this module, some of them before the configuration exists, so it imports
nothing. The connection form repeats ``connection/fields.py``; a test compares the two.
"""

from __future__ import annotations

__all__ = [
    "get_provider_info",
]


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-bloq",
        "name": "Bloq",
        "description": (
            "`Bloq Cloud <https://docs.bloq.com>`__: blockchain nodes, clusters and their JSON-RPC, "
            "with client keys from the connection, HashiCorp Vault or OpenBao."
        ),
        "integrations": [
            {
                "integration-name": "Bloq",
                "external-doc-url": "https://docs.bloq.com",
                "tags": ["service"],
            },
        ],
        "hooks": [
            {"integration-name": "Bloq", "python-modules": ["airflow_provider_bloq.hooks.bloq"]},
        ],
        "operators": [
            {
                "integration-name": "Bloq",
                "python-modules": [
                    "airflow_provider_bloq.operators.client_keys",
                    "airflow_provider_bloq.operators.clusters",
                    "airflow_provider_bloq.operators.connect",
                    "airflow_provider_bloq.operators.jsonrpc",
                    "airflow_provider_bloq.operators.nodes",
                ],
            },
        ],
        "sensors": [
            {
                "integration-name": "Bloq",
                "python-modules": [
                    "airflow_provider_bloq.sensors.chains",
                    "airflow_provider_bloq.sensors.connect",
                    "airflow_provider_bloq.sensors.nodes",
                ],
            },
        ],
        "triggers": [
            {
                "integration-name": "Bloq",
                "python-modules": [
                    "airflow_provider_bloq.triggers.chain_events",
                    "airflow_provider_bloq.triggers.wait",
                ],
            },
        ],
        "extra-links": [
            "airflow_provider_bloq.operators.links.BloqErrorLink",
            "airflow_provider_bloq.operators.links.BloqResultLink",
        ],
        "config": {
            "bloq": {
                "description": "Settings for all connections of the type ``bloq``.",
                "options": {
                    "docs_url": {
                        "description": (
                            "URL at which this provider's documentation is published for the users of this Airflow. "
                            "Failed tasks then link to the explanation of their error. Empty: no link."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://docs.example.com/airflow-provider-bloq",
                        "default": "",
                    },
                },
            },
        },
        # Read by Airflow 3.2 and later.
        "cli": ["airflow_provider_bloq.cli.commands.get_cli_commands"],
        "asset-uris": [
            {"schemes": ["bloq"], "handler": "airflow_provider_bloq.assets.bloq.sanitize_uri"},
        ],
        # Airflow loads them only if the provider common-messaging is installed.
        "queues": [
            "airflow_provider_bloq.queues.bloq.BloqBlockQueue",
            "airflow_provider_bloq.queues.bloq.BloqAddressQueue",
            "airflow_provider_bloq.queues.bloq.BloqLogsQueue",
            "airflow_provider_bloq.queues.bloq.BloqConnectBlockQueue",
            "airflow_provider_bloq.queues.bloq.BloqPaymentQueue",
        ],
        "task-decorators": [
            {"name": "bloq", "class-name": "airflow_provider_bloq.decorators.bloq.bloq_task"},
        ],
        "connection-types": [
            {
                "connection-type": "bloq",
                "hook-class-name": "airflow_provider_bloq.hooks.bloq.BloqHook",
                "hook-name": "Bloq",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "Accounts host or URL",
                        "login": "Client ID",
                        "password": "Client secret",
                        "port": "Port (443 unless the host names another)",
                    },
                    "placeholders": {
                        "host": "accounts.bloq.cloud",
                        "login": "leave empty to read it from Vault",
                        "password": "leave empty to read it from Vault",
                        "port": "443",
                    },
                },
                "conn-fields": _conn_fields(),
            },
        ],
    }


def _conn_fields() -> dict[str, object]:
    return {
        "environment": _field(
            "Environment",
            "Sets every Bloq URL that is not given below.",
            enum=["prod", "staging", "local"],
            default="prod",
        ),
        "vault_conn_id": _field(
            "Vault connection",
            "Airflow connection of type vault through which the client keys are read; "
            "vault_default if a Vault path is given and this is empty.",
        ),
        "vault_path": _field(
            "Vault path",
            "Path of the client keys below the mount, without data/. Leave client ID and client secret empty then.",
        ),
        "vault_id_field": _field("Vault field of the client ID", "Empty: clientId or client_id."),
        "vault_key_field": _field(
            "Vault field of the client secret", "Empty: clientSecret or client_secret."
        ),
        "sharing": _field(
            "Sharing of tokens",
            "task: each task has its own access token; vault: all tasks share one through Vault.",
            enum=["task", "vault"],
            default="task",
        ),
        "shared_vault_path": _field(
            "Vault path of the shared token",
            "With sharing: vault. Path below the mount (KV version 2) that nothing else uses. "
            "Without client keys, the connection only reads there.",
        ),
        "shared_vault_conn_id": _field(
            "Vault connection of the shared token",
            "Empty: the Vault connection of the client keys, or vault_default.",
        ),
        "nodes_url": _field("Nodes URL", "Empty: the URL of the environment."),
        "connect_url": _field(
            "Connect URL",
            "May contain {chain}, as in https://{chain}.connect.bloq.cloud. Empty: the URL of the environment.",
        ),
        "connect_api_keys": _field(
            "Path keys of Connect",
            'Chain to path key, such as {"eth": "<key>"}, for JSON-RPC through Connect. Other keys are read from '
            "the fields connect_<chain> next to the client keys in Vault.",
            "object",
        ),
        "timeout": _field(
            "Timeout (seconds)",
            "For connecting and for each wait for an answer; 1 to 600.",
            "number",
            minimum=1,
            maximum=600,
            default=30,
        ),
        "requests_per_second": _field(
            "Requests per second",
            "The most that one process sends through this connection, not counting token requests. Empty: no limit.",
            "number",
            minimum=0.01,
            maximum=1000,
        ),
        "ca_bundle": _field(
            "CA bundle",
            "File or folder of CA certificates to trust instead of the usual ones, on each machine that runs tasks.",
        ),
        "node_tls": _field(
            "Certificates of nodes",
            "pinned: checked by fingerprint, as nodes sign their own; verify: checked by CA; insecure: not checked.",
            enum=["pinned", "verify", "insecure"],
            default="pinned",
        ),
        "node_fingerprints": _field(
            "Fingerprints of nodes",
            'Node id to SHA-256 fingerprints of its certificate, such as {"node-1": ["9f:86:…"]}.',
            "object",
        ),
        "rpc_origins": _field(
            "Origins for JSON-RPC",
            "Other origins, one per line, that may receive the access token, such as https://rpc.example.com:8545.",
            "array",
            items={"type": "string"},
        ),
    }


def _field(label: str, description: str, json_type: str = "string", **limits: object) -> dict[str, object]:
    return {"label": label, "description": description, "schema": {"type": [json_type, "null"], **limits}}
