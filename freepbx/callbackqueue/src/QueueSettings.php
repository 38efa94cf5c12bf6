<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/** The settings of one queue: as they are submitted, stored and used. */
class QueueSettings
{
	public const FIELDS = [
		'enabled', 'key', 'offer', 'frequency', 'attempts', 'caller_id', 'did', 'outbound',
	];
	/** The prompt of the service, which says "press 1". */
	public const DEFAULT_OFFER = 'default';
	public const NO_OFFER = 'none';

	public bool $enabled = false;
	/** The key for a callback. */
	public string $key = '1';
	/** What callers hear while they wait: the id of a recording, or one of the above. */
	public string $offer = self::DEFAULT_OFFER;
	/** Seconds between two offers. */
	public int $frequency = 30;
	/** Attempts to reach a client; empty: the default of the service. */
	public string $attempts = '';
	/** The number that clients see. */
	public string $callerId = '';
	/** The DID of the queue, for reports and recordings. */
	public string $did = '';
	/** How clients are dialled; empty: as set for all queues. */
	public string $outbound = '';

	/**
	 * Reads submitted fields.
	 *
	 * @throws Unusable with everything that is wrong
	 */
	public static function fromForm(array $given): self
	{
		$problems = [];
		$wants = function (string $field, string $pattern, string $problem) use ($given, &$problems): string {
			$value = (string) ($given[$field] ?? '');
			if (!preg_match($pattern, $value)) {
				$problems[] = $problem . " (got \"$value\")";
			}
			return $value;
		};
		$it = new self();
		$it->enabled = $wants('enabled', '/^(?:yes|no)$/D', _('"Callback" must be yes or no')) === 'yes';
		$it->key = $wants('key', '/^[0-9*#]$/D', _('the key must be one of 0 to 9, * and #'));
		$it->offer = $wants('offer', '/^(?:default|none|[0-9]{1,10})$/D', _('the offer must be a recording of the list'));
		$frequency = $wants('frequency', '/^[0-9]{1,4}$/D', _('the time between two offers must be a number of seconds'));
		$it->frequency = (int) $frequency;
		if (ctype_digit($frequency) && ($it->frequency < 10 || $it->frequency > 3600)) {
			$problems[] = _('the time between two offers must be 10 to 3600 seconds');
		}
		$it->attempts = $wants('attempts', '/^(?:|[1-9][0-9]?|100)$/D', _('attempts must be 1 to 100, or empty'));
		$it->callerId = $wants('caller_id', '/^(?:|\+?[0-9]{3,20})$/D', _('the caller ID must be a number, or empty'));
		$it->did = $wants('did', '/^(?:|\+?[0-9]{1,20})$/D', _('the DID must be a number, or empty'));
		$it->outbound = $wants('outbound', ModuleSettings::OUTBOUND_OR_EMPTY, ModuleSettings::outboundProblem());
		if ($it->key !== '1' && $it->offer === self::DEFAULT_OFFER) {
			$problems[] = _('the prompt of the service says "press 1": choose your own recording for another key');
		}
		if ($problems) {
			throw new Unusable($problems);
		}
		return $it;
	}

	/** Reads stored settings; what is unusable there has its default. */
	public static function fromStored(array $stored): self
	{
		$given = array_merge((new self())->toForm(), array_intersect_key(array_filter($stored, 'is_scalar'), array_flip(self::FIELDS)));
		try {
			return self::fromForm(array_map('strval', $given));
		} catch (Unusable $unusable) {
			return new self();
		}
	}

	/** @return array<string, string> as fromForm() takes it */
	public function toForm(): array
	{
		return [
			'enabled' => $this->enabled ? 'yes' : 'no',
			'key' => $this->key,
			'offer' => $this->offer,
			'frequency' => (string) $this->frequency,
			'attempts' => $this->attempts,
			'caller_id' => $this->callerId,
			'did' => $this->did,
			'outbound' => $this->outbound,
		];
	}

	/** @return array<string, string> as it is stored */
	public function toArray(): array
	{
		return $this->toForm();
	}
}
