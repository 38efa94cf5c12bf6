<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/** Submitted settings cannot be used. */
class Unusable extends \Exception
{
	/** @var string[] */
	public array $problems;

	public function __construct(array $problems)
	{
		$this->problems = $problems;
		parent::__construct(implode('; ', $problems));
	}
}
