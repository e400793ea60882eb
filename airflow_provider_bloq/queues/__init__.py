"""Chains as queues for the ``MessageQueueTrigger`` of the common messaging provider."""
